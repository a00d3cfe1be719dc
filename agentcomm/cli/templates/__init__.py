"""What ``agentcomm new`` writes: a plug-in of each axis as it stands here, under the user's name.

These are real plug-ins, so types, lint and conformance hold them to what is asked of users. ``my_attack``,
``MyAttack``, ``my-attack`` and the module's name are replaced by the user's.
"""
