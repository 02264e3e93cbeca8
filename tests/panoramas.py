"""Packets of XMP that say how a picture lies on a sphere."""

GPANO = "http://ns.google.com/photos/1.0/panorama/"

CROPPED = {
    "ProjectionType": "equirectangular",
    "CroppedAreaImageWidthPixels": "1600",
    "CroppedAreaImageHeightPixels": "600",
    "CroppedAreaLeftPixels": "0",
    "CroppedAreaTopPixels": "100",
    "FullPanoWidthPixels": "1600",
    "FullPanoHeightPixels": "800",
    "PoseHeadingDegrees": "123.5",
    "PosePitchDegrees": "-2",
    "PoseRollDegrees": "0.25",
}
"""All the way round, cut off above and below."""


def packet(
    values: dict[str, str], *, attributes: bool = False, prefix: str = "GPano", beside: str = ""
) -> bytes:
    """XMP with these properties, as elements or as attributes."""
    inner = "".join(f"<{prefix}:{name}>{text}</{prefix}:{name}>\n" for name, text in values.items())
    named = "".join(f' {prefix}:{name}="{text}"' for name, text in values.items())
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" xmlns:{prefix}="{GPANO}"{named if attributes else ""}>'
        f"{'' if attributes else inner}{beside}</rdf:Description></rdf:RDF></x:xmpmeta>"
    ).encode()
