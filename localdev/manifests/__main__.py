"""`./task manifests`: write the generated files of stack/knative, stack/openfaas and stack/prometheus again."""

from localdev.manifests import knative, kong, monitoring, openfaas
from localdev.paths import ROOT

if __name__ == "__main__":
    for path, text in {**knative.files(), **kong.files(), **openfaas.files(), **monitoring.files()}.items():
        path.write_text(text)
        print(path.relative_to(ROOT))
