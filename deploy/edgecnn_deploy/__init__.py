"""What the installer, the service unit and the Dockerfiles need, as package data."""
