"""Find, load, check, pack and publish bundles. Import the modules by name: this file stays free of torch."""
