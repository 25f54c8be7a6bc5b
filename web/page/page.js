"use strict";

// Shows openapi.json with Swagger UI. Before that, each operation gets a curl line and a table of
// the fields of its body, and loses what the introduction says once for all operations.

const SHARED_ERRORS = ["400", "401", "403", "413", "500", "503"];
const FORMATS = {
  "date-time-local": "date-time", "iana-time-zone": "time zone", uri: "URL", uuid: "UUID",
};
const BASE = new URL(".", location.href).href.replace(/\/$/, ""); // with the path prefix, if any

/** Return what a reference such as `{"$ref": "#/components/schemas/Reason"}` names. */
function resolve(api, part) {
  if (!part.$ref) return part;
  return part.$ref.slice(2).split("/").reduce((found, name) => found[name], api);
}

/** Return a text as one argument of a shell command. */
function quoted(text) {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** Return the curl command of an operation; `$KEY` and `$MEETING_ID` stand for your own values. */
function curl(method, path, operation) {
  const url = BASE + path.replace(/\{(\w+)\}/g, (_, name) => "$" + name.toUpperCase());
  const content = operation.requestBody?.content["application/json"];
  const example = content && (content.example ?? content.examples.one.value);
  return [
    `curl ${method === "get" ? "" : `-X ${method.toUpperCase()} `}"${url}"`,
    operation.security.length && '-H "X-API-Key: $KEY"',
    example && `-d ${quoted(JSON.stringify(example))}`,
  ].filter(Boolean).join(" \\\n  ");
}

/** Return the type of a field in a few words, such as "text, up to 255 characters". */
function typeOf(api, field) {
  const shape = resolve(api, field);
  if (shape.anyOf) {
    const kinds = shape.anyOf.filter((kind) => kind.type !== "null").map((kind) => typeOf(api, kind));
    return [...new Set(kinds)].join(" or ");
  }
  if (shape.enum) return shape.enum.map((word) => `\`${word}\``).join(", ");
  const kinds = [shape.type].flat().filter((kind) => kind && kind !== "null");
  if (kinds[0] === "array") return `list of ${typeOf(api, shape.items)}`;
  if (kinds[0] === "object" && field.$ref) return field.$ref.split("/").pop();
  const format = FORMATS[shape.format] ?? shape.format;
  const limit = shape.maxLength && !format ? `, up to ${shape.maxLength.toLocaleString("en")} characters` : "";
  const range = shape.maximum !== undefined ? `, ${shape.minimum} to ${shape.maximum.toLocaleString("en")}` : "";
  return (format ?? kinds.join(" or ").replace("string", "text")) + limit + range;
}

/** Return the fields of an operation's body as a table, or "" without a body. */
function fieldTable(api, operation) {
  const schema = operation.requestBody?.content["application/json"]?.schema;
  if (!schema) return "";
  const body = resolve(api, resolve(api, schema).anyOf?.[0] ?? schema);
  const rows = Object.entries(body.properties ?? {}).map(([name, field]) => {
    const about = field.description ?? resolve(api, field).description ?? "";
    const required = (body.required ?? []).includes(name) ? " **required**" : "";
    return [`\`${name}\`${required}`, typeOf(api, field), about].map((cell) => cell.replaceAll("|", "\\|"));
  });
  if (!rows.length) return "";
  return ["| field | type | |", "| --- | --- | --- |", ...rows.map((row) => `| ${row.join(" | ")} |`)].join("\n");
}

/** Change the document into the one that the page shows. */
function forReaders(api) {
  for (const [path, item] of Object.entries(api.paths)) {
    delete item.parameters; // X-Request-Id: left out, so that each request gets a new one
    for (const [method, operation] of Object.entries(item)) {
      const sample = "```bash\n" + curl(method, path, operation) + "\n```";
      operation.description = [operation.description, sample, fieldTable(api, operation)].filter(Boolean).join("\n\n");
      for (const status of SHARED_ERRORS) delete operation.responses[status];
    }
  }
  return api;
}

fetch("openapi.json").then((answer) => answer.json()).then((api) => {
  window.ui = SwaggerUIBundle({
    dom_id: "#reference",
    spec: forReaders(api),
    deepLinking: true,
    displayRequestDuration: true,
    defaultModelExpandDepth: 3,
    defaultModelsExpandDepth: 0,
    validatorUrl: null, // a validator would send the document to another host
  });
});
