-- Finds the route of a path, as the facade's route table does: literal segments before variables,
-- percent-decoded; a trailing slash makes another path; `:verb` may stand after the last segment. A path that
-- a template spells out is that one's alone, whatever the method.

local contract = require("contract")
local json = require("json")
local percent = require("percent")

local routes = {}

local MAX_SEGMENTS = 32

local function split(path)
  local parts = {}
  for part in path:sub(2):gmatch("([^/]*)/?") do
    parts[#parts + 1] = part
  end
  -- gmatch ends with one empty match more, which is a segment only after a trailing slash.
  if path:sub(-1) ~= "/" then parts[#parts] = nil end
  return parts
end

local function new_node()
  return { literals = {}, verbs = {}, methods = {} }
end

local root = new_node()

local function add(template, method, target)
  local node, variables = root, {}
  local path, verb = template:match("^([^:]*):?(.*)$")
  for _, part in ipairs(split(path)) do
    local variable = part:match("^{(.*)}$")
    if variable then
      variables[#variables + 1] = variable
      node.variable = node.variable or new_node()
      node = node.variable
    else
      node.literals[part] = node.literals[part] or new_node()
      node = node.literals[part]
    end
  end
  if verb ~= "" then
    node.verbs[verb] = node.verbs[verb] or new_node()
    node = node.verbs[verb]
  end
  node.methods[method] = { target = target, template = template, variables = variables }
  node.used = true
end

for _, rpc in ipairs(contract.rpcs) do
  add(rpc.path, rpc.method, rpc)
end
for _, page in ipairs(contract.pages) do
  add(page.path, "GET", page)
end

-- Where a last segment leads that stands before a verb.
local function walk_verb(node, segment, values, found)
  local name, verb = segment:match("^(.*):([^:]*)$")
  if not name then return end
  local literal = node.literals[name]
  if literal and literal.verbs[verb] then
    found[#found + 1] = { node = literal.verbs[verb], values = { unpack(values) } }
  end
  if node.variable and name ~= "" and node.variable.verbs[verb] then
    values[#values + 1] = name
    found[#found + 1] = { node = node.variable.verbs[verb], values = { unpack(values) } }
    values[#values] = nil
  end
end

local function walk(node, segments, at, values, found)
  if at > #segments then
    if node.used then found[#found + 1] = { node = node, values = { unpack(values) } } end
    return
  end
  if at == #segments then walk_verb(node, segments[at], values, found) end
  local literal = node.literals[segments[at]]
  if literal then walk(literal, segments, at + 1, values, found) end
  if node.variable and segments[at] ~= "" then
    values[#values + 1] = segments[at]
    walk(node.variable, segments, at + 1, values, found)
    values[#values] = nil
  end
end

local function allowed_of(node)
  local set, allowed = { OPTIONS = true }, {}
  for method in pairs(node.methods) do
    set[method] = true
    if method == "GET" then set.HEAD = true end
  end
  for method in pairs(set) do
    allowed[#allowed + 1] = method
  end
  table.sort(allowed)
  return table.concat(allowed, ", ")
end

-- `{allowed, target, values}` for a raw path, `target` nil where the method is none of its; nil where
-- there is no such path; nil and a rule where it cannot be read.
function routes.find(method, path)
  if path:sub(1, 1) ~= "/" then return nil end
  local segments = split(path)
  if #segments >= MAX_SEGMENTS then return nil end
  for i, part in ipairs(segments) do
    segments[i] = percent.decode(part)
    if json.not_utf8(segments[i]) then return nil, "must be UTF-8, percent-encoded" end
  end
  local found = {}
  walk(root, segments, 1, {}, found)
  local first = found[1]
  if not first then return nil end
  local match = { allowed = allowed_of(first.node) }
  local route = first.node.methods[method == "HEAD" and "GET" or method]
  if route then
    match.target, match.template, match.values = route.target, route.template, {}
    for i, name in ipairs(route.variables) do
      match.values[name] = first.values[i]
    end
  end
  return match
end

-- The path of a template with its variables filled in, in one spelling whatever the client's was.
function routes.canonical(template, values)
  return (template:gsub("{(.-)}", function(name) return percent.encode(values[name]) end))
end

return routes
