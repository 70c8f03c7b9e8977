"""`./task dashboards`: write stack/grafana/dashboards again, after a change of stack/grafana/source or of the catalogue."""

from localdev.dashboards import source
from localdev.dashboards.grafana import text
from localdev.paths import ROOT

if __name__ == "__main__":
    source.FOLDER.mkdir(exist_ok=True)
    wanted = {source.FOLDER / f"{dashboard.uid}.json": text(dashboard) for dashboard in source.dashboards()}
    for path in set(source.FOLDER.glob("*.json")) - wanted.keys():
        path.unlink()
    for path, content in wanted.items():
        path.write_text(content)
        print(path.relative_to(ROOT))
