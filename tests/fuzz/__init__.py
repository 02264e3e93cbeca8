"""`make fuzz`: the whole service against mutated requests and pictures, for as long as is asked."""
