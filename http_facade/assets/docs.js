"use strict";

const make = (tag, properties = {}, ...children) => {
  const { attributes = {}, ...rest } = properties;
  const element = Object.assign(document.createElement(tag), rest);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children.filter((child) => child !== null));
  return element;
};

const byId = (id) => document.getElementById(id);

let ids = 0;

const typeOf = (schema) => {
  if (schema.enum) return "";
  const types = [schema.type || "any"].flat().filter((name) => name !== "null");
  const type = types.join(" or ");
  const parts = [type === "array" ? `list of ${schema.items?.type || "values"}` : type];
  if (schema.format && !schema.format.startsWith("int")) parts.push(schema.format);
  if (schema.minimum !== undefined) parts.push(`from ${schema.minimum}`);
  if (schema.maximum !== undefined) parts.push(`to ${schema.maximum}`);
  if (schema.default !== undefined) parts.push(`default ${JSON.stringify(schema.default)}`);
  return parts.join(", ");
};

const field = (parameter) => {
  const id = `field-${(ids += 1)}`;
  const { schema } = parameter;
  const choices = schema.enum || (schema.type === "boolean" ? ["true", "false"] : null);
  const input = choices
    ? make("select", { id }, ...["", ...choices].map((value) => make("option", { value }, value)))
    : make("input", { id, placeholder: schema.default === undefined ? "" : String(schema.default) });
  input.required = Boolean(parameter.required);
  input.setAttribute("aria-describedby", `${id}-note`);
  const note = [parameter.description, typeOf(schema)].filter(Boolean).join(" · ");
  const row = make(
    "div",
    { className: "row" },
    make("label", { htmlFor: id, className: input.required ? "required" : "" }, parameter.name),
    input,
    make("span", { id: `${id}-note`, className: "note" }, note),
  );
  return { input, parameter, row };
};

const resolve = (spec, schema) => {
  if (!schema?.$ref) return schema || {};
  return spec.components.schemas[schema.$ref.split("/").pop()];
};

const properties = (spec, schema, depth = 0, seen = []) => {
  const whole = resolve(spec, schema);
  const rows = [];
  for (const [name, value] of Object.entries(whole.properties || {})) {
    const inner = value.$ref || value.anyOf?.[0].$ref || value.items?.$ref;
    const shown = "  ".repeat(depth) + name;
    const required = (whole.required || []).includes(name);
    const note = value.description || (inner && resolve(spec, { $ref: inner }).description) || "";
    rows.push(
      make(
        "tr",
        {},
        make("td", { className: required ? "path required" : "path" }, shown),
        make("td", {}, inner ? (value.items ? "list of objects" : "object") : typeOf(value)),
        make("td", {}, note),
      ),
    );
    if (inner && !seen.includes(inner)) {
      rows.push(...properties(spec, { $ref: inner }, depth + 1, [...seen, inner]));
    }
  }
  return rows;
};

const table = (caption, heads, rows) =>
  rows.length === 0
    ? null
    : make(
        "table",
        {},
        make("caption", {}, caption),
        make("thead", {}, make("tr", {}, ...heads.map((head) => make("th", { scope: "col" }, head)))),
        make("tbody", {}, ...rows),
      );

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

const requestOf = (path, fields, editor) => {
  let target = path;
  const query = new URLSearchParams();
  for (const { input, parameter } of fields) {
    if (parameter.in === "path") target = target.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
    else if (input.value !== "") query.append(parameter.name, input.value);
  }
  const search = query.toString();
  return { url: search ? `${target}?${search}` : target, body: editor ? editor.value : null };
};

const curl = (method, { url, body }, secured) =>
  [
    `curl -X ${method} ${quoted(location.origin + url)}`,
    secured ? `-H "Authorization: Bearer $TOKEN"` : null,
    body === null ? null : `-H 'Content-Type: application/json' -d ${quoted(body)}`,
  ]
    .filter(Boolean)
    .join(" \\\n  ");

// Shows a stream as it comes.
const follow = async (answer, text) => {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let raw = "";
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    raw += part.value;
    text.append(part.value);
  }
  return raw;
};

const send = async (method, request, secured, output) => {
  const headers = {};
  const token = byId("token").value.trim().replace(/^Bearer\s+/i, "");
  if (secured && token) headers.Authorization = `Bearer ${token}`;
  if (request.body !== null) headers["Content-Type"] = "application/json";
  const began = performance.now();
  const line = make("p", {});
  const text = make("pre", { tabIndex: 0 });
  output.replaceChildren(line, text, make("pre", { tabIndex: 0 }, curl(method, request, secured)));
  try {
    const answer = await fetch(request.url, { method, headers, body: request.body, redirect: "manual" });
    const stream = (answer.headers.get("Content-Type") || "").startsWith("text/event-stream");
    const raw = await (stream ? follow(answer, text) : answer.text());
    const took = Math.round(performance.now() - began);
    line.className = answer.ok ? "good" : "bad";
    line.textContent = `${answer.status} ${answer.statusText} in ${took} ms · request id ${answer.headers.get("X-Request-Id")}`;
    try {
      text.textContent = JSON.stringify(JSON.parse(raw), null, 2);
    } catch {
      text.textContent = raw;
    }
  } catch (error) {
    line.className = "bad";
    line.textContent = `No answer: ${error.message}`;
  }
};

const bodyEditor = (operation) => {
  const content = operation.requestBody?.content["application/json"];
  if (!content) return { editor: null, row: null };
  const id = `field-${(ids += 1)}`;
  const editor = make("textarea", { id, spellcheck: false });
  editor.value = JSON.stringify(content.example || {}, null, 2);
  const row = make("div", { className: "row" }, make("label", { htmlFor: id }, "Body (JSON)"), editor);
  return { editor, row };
};

const operationView = (spec, path, method, operation) => {
  const secured = operation.security.length > 0;
  const fields = (operation.parameters || []).filter((one) => one.in !== "header").map(field);
  const { editor, row } = bodyEditor(operation);
  const output = make("div", { attributes: { "aria-live": "polite" } });
  const button = make("button", { type: "submit" }, "Send");
  const form = make("form", {}, ...fields.map((f) => f.row), row, button);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    await send(method, requestOf(path, fields, editor), secured, output);
    button.disabled = false;
  });
  const schema = operation.requestBody?.content["application/json"].schema;
  const answers = Object.entries(operation.responses).map(([status, response]) =>
    make("tr", {}, make("td", { className: "path" }, status), make("td", {}, response.description)),
  );
  return make(
    "details",
    {},
    make(
      "summary",
      {},
      make("span", { className: "method" }, method),
      make("span", { className: "path" }, path),
      make("span", {}, operation.summary),
      make("span", { className: "open" }, secured ? "token" : "open to all"),
    ),
    make(
      "div",
      { className: "inside" },
      make("p", { className: "note" }, operation.description),
      schema ? table("Body", ["Field", "Type", "Meaning"], properties(spec, schema)) : null,
      form,
      output,
      table("Answers", ["Status", "Meaning"], answers),
    ),
  );
};

const show = (spec) => {
  document.title = `${spec.info.title} API`;
  byId("title").textContent = `${spec.info.title} API ${spec.info.version}`;
  byId("about").textContent = spec.info.description;
  const groups = new Map(spec.tags.map((tag) => [tag.name, { tag, views: [] }]));
  for (const [path, methods] of Object.entries(spec.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const view = operationView(spec, path, method.toUpperCase(), operation);
      view.dataset.words = `${method} ${path} ${operation.description}`.toLowerCase();
      groups.get(operation.tags[0]).views.push(view);
    }
  }
  const sections = [...groups.values()].map(({ tag, views }) =>
    make("section", {}, make("h2", {}, tag.name), make("p", { className: "note" }, tag.description), ...views),
  );
  byId("operations").replaceChildren(...sections);
  byId("filter").addEventListener("input", (event) => {
    const wanted = event.target.value.toLowerCase();
    for (const view of document.querySelectorAll("details")) view.hidden = !view.dataset.words.includes(wanted);
    for (const section of sections) section.hidden = !section.querySelector("details:not([hidden])");
  });
};

fetch("/openapi.json")
  .then((answer) => answer.json())
  .then(show)
  .catch((error) => {
    byId("operations").replaceChildren(
      make("p", { className: "bad", attributes: { role: "alert" } }, `openapi.json cannot be read: ${error.message}`),
    );
  });
