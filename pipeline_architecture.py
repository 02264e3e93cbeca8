"""Every pipeline and its stages in order: the page is `blurline/pipeline_architecture.py`.

It lies in the package, so that an install brings it along; this is its name in the checkout.
"""

from blurline.pipeline_architecture import pipelines

__all__ = ["pipelines"]
