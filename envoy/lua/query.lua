-- Query strings and path variables, strictly: repeated keys and commas make lists of strings,
-- everything else is given once; booleans are `true` or `false`, instants RFC 3339.

local contract = require("contract")
local fields = require("fields")
local instants = require("instants")
local json = require("json")
local percent = require("percent")

local query = {}

local MAX_PARAMETERS = 100

local function double_rule(text)
  local whole, fraction, exponent = text:match("^%-?(%d+)(%.?%d*)([eE]?[+-]?%d*)$")
  local fits = whole and #whole <= 20
    and (fraction == "" or (#fraction > 1 and #fraction <= 21))
    and (exponent == "" or exponent:find("^[eE][+-]?%d%d?%d?$"))
  if not fits then return "must be a number" end
  if math.abs(tonumber(text)) == math.huge then return "must be a number that a double can hold" end
end

-- The rule that a text breaks as a value of a field, or nil.
local function rule_of(field, text)
  local kind = field.kind
  if field.message then return not instants.read(text) and instants.RULE or nil end
  if kind == "string" then return json.text_rule(text) end
  if kind == "bool" then return text ~= "true" and text ~= "false" and "must be true or false" or nil end
  if kind == "enum" then return fields.enum_rule(field, text) end
  if kind == "double" then return double_rule(text) end
  if kind == "bytes" then return not (#text % 4 == 0 and text:find("^[%w+/]*=?=?$")) and "must be base64" or nil end
  if not text:find("^%-?%d+$") or #text > 21 then return "must be a whole number" end
  return fields.whole_rule(kind, text)
end

local function add(name, field, text, problems, parts)
  local rule = rule_of(field, text)
  if rule then problems:add(name, rule) end
  if field.message then text = text:upper() end -- of instants, the transcoder takes capitals only
  parts[#parts + 1] = percent.encode(name) .. "=" .. percent.encode(text)
end

-- Checks the path variables of a match.
function query.check_path(rpc, values, problems)
  local message = contract.messages[rpc.request]
  for _, name in ipairs(rpc.variables) do
    local rule = rule_of(message.fields[name], values[name])
    if rule then problems:add(name, rule) end
  end
end

local function parse(text)
  local given, names, count = {}, {}, 0
  for pair in text:gmatch("[^&]+") do
    count = count + 1
    local name, value = pair:match("^([^=]*)=?(.*)$")
    name = percent.decode((name:gsub("%+", " ")))
    value = percent.decode((value:gsub("%+", " ")))
    if json.not_utf8(name) or json.not_utf8(value) then return nil, "must be UTF-8" end
    if not given[name] then
      given[name] = {}
      names[#names + 1] = name
    end
    table.insert(given[name], value)
  end
  local _, separators = text:gsub("&", "")
  if separators + 1 > MAX_PARAMETERS then
    return nil, string.format("must not have more than %d parameters", MAX_PARAMETERS)
  end
  return given, names
end

-- Checks a raw query string; returns it in one spelling, whatever the client's was.
function query.check(rpc, text, problems)
  local given, names = parse(text)
  if not given then
    problems:add("query", names)
    return ""
  end
  local parts = {}
  for _, name in ipairs(names) do
    local values, field = given[name], rpc.query[name]
    if not field and rpc.passes_over_unknown then
      -- What others add to their questions is not looked at.
    elseif not field then
      local allowed = table.concat(rpc.query, ", ")
      problems:add(
        json.cut(name, 100),
        allowed ~= "" and "unknown parameter; allowed: " .. allowed
          or "unknown parameter; this endpoint takes none in its query"
      )
    elseif field.list then
      for _, value in ipairs(values) do
        if field.kind == "string" then
          for part in (value .. ","):gmatch("([^,]*),") do
            add(name, field, part, problems, parts)
          end
        else
          add(name, field, value, problems, parts)
        end
      end
    elseif #values > 1 then
      problems:add(name, "must be given once")
    else
      add(name, field, values[1], problems, parts)
    end
  end
  return table.concat(parts, "&")
end

return query
