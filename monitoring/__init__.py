"""What is watched of the service, and how: rules, dashboards, pictures of them."""
