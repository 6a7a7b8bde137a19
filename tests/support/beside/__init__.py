"""The project with an app beside dispatch that changes the admin."""
