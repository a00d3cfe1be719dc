import logging

# Before Ray is imported: in a notebook, it asks for packages of displays that nobody sees here.
logging.getLogger("ray.widgets").setLevel(logging.WARNING)
