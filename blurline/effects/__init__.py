"""How a picture is made better, or given another look: pure functions of pixels."""
