"""Medical vision-language toolkit in MONAI Bundle format."""

__version__ = "0.1.0"
