"""blurline blurs faces, number plates and cars in pictures, then detects objects in them."""

__version__ = "0.1.0"
