"""`python -m monitoring.dashboards`: write the dashboards to where Grafana reads them."""

from monitoring.dashboards.files import FOLDER, pages


def main() -> None:
    """Write them all, and remove those that are no more."""
    wanted = pages()
    for path in FOLDER.glob("*.json"):
        if path.name not in wanted:
            path.unlink()
    for name, content in wanted.items():
        (FOLDER / name).write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
