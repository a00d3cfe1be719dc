import logging

# Before Ray is imported: in a notebook, it asks for packages that draw progress bars, which are not used here.
logging.getLogger("ray.widgets").setLevel(logging.WARNING)
