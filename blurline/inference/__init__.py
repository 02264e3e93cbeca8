"""Networks: engines that run them, and what turns pixels into their input and output into boxes."""
