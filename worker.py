"""A worker, for who runs the checkout: `python worker.py`.

It is `python -m blurline.entry.worker`, which is all that an installed blurline has of it.
"""

from blurline.entry.worker import main

if __name__ == "__main__":
    main()
