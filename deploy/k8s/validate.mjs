// Checks custom resources, a list of JSON on standard input, by the models of their makers' schemas.
// `make validators` brings the models.
import { readFileSync } from "node:fs";

const MODELS = {
  "keda.sh": "@kubernetes-models/keda",
  "security.istio.io": "@kubernetes-models/istio",
  "monitoring.coreos.com": "@kubernetes-models/prometheus-operator",
};

let wrong = 0;
for (const resource of JSON.parse(readFileSync(0, "utf8"))) {
  const [group, version] = resource.apiVersion.split("/");
  const name = `${resource.kind} ${resource.metadata.name}`;
  try {
    const models = await import(`${MODELS[group]}/${group}/${version}`);
    new models[resource.kind](resource).validate();
    console.log(`${name} is valid`);
  } catch (error) {
    console.error(`${name}: ${error.message}`);
    wrong += 1;
  }
}
process.exit(wrong ? 1 : 0);
