-- Holds JSON values against the fields of the contract, strictly: nothing is dropped or coerced.
-- The transcoder alone drops unknown fields and takes "yes" for a boolean.

local contract = require("contract")
local instants = require("instants")
local json = require("json")

local fields = {}

local SAFE_INTEGER = 2 ^ 53
local WHOLE = {
  int32 = { "-2147483648", "2147483647" },
  uint32 = { "0", "4294967295" },
  int64 = { "-9223372036854775808", "9223372036854775807" },
  uint64 = { "0", "18446744073709551615" },
}

-- Compares whole numbers of any length by their digits.
local function less(a, b)
  local negative_a, negative_b = a:sub(1, 1) == "-", b:sub(1, 1) == "-"
  if negative_a ~= negative_b then return negative_a end
  if #a ~= #b then return (#a < #b) ~= negative_a end
  if a == b then return false end
  return (a < b) ~= negative_a
end

-- The rule that the digits of a whole number break, or nil.
function fields.whole_rule(kind, digits)
  local low, high = WHOLE[kind][1], WHOLE[kind][2]
  local sign, rest = digits:match("^(%-?)0*(%d+)$")
  local plain = rest == "0" and "0" or sign .. rest
  if less(plain, low) or less(high, plain) then
    return string.format("must be from %s to %s", low, high)
  end
end

local function check_whole(field, value)
  local digits
  if type(value) == "string" and field.kind:find("64") and value:find("^%-?%d+$") and #value <= 20 then
    digits = value
  elseif type(value) == "table" and value.text then
    if value.exact then
      digits = value.text
    elseif value.value % 1 == 0 and math.abs(value.value) <= SAFE_INTEGER then
      digits = string.format("%.0f", value.value)
    end
  end
  if not digits then return "must be a whole number" end
  return fields.whole_rule(field.kind, digits)
end

function fields.enum_rule(field, value)
  if type(value) == "string" then
    for _, name in ipairs(field.names) do
      if name == value then return nil end
    end
  end
  return "must be one of: " .. field.allowed
end

local function check_scalar(field, value)
  local kind = field.kind
  if WHOLE[kind] then return check_whole(field, value) end
  if kind == "string" then return type(value) ~= "string" and "must be a string" or nil end
  if kind == "bool" then return type(value) ~= "boolean" and "must be true or false" or nil end
  if kind == "enum" then return fields.enum_rule(field, value) end
  if kind == "double" then
    if type(value) ~= "table" or not value.text then return "must be a number" end
    if math.abs(value.value) == math.huge then return "must be a number that a double can hold" end
    return nil
  end
  local base64 = type(value) == "string" and #value % 4 == 0 and value:find("^[%w+/]*=?=?$")
  return not base64 and "must be base64" or nil
end

-- A name as it stands in a path: cut, so that an answer is never as long as its request.
local function short(name)
  if #name <= 60 and not name:find("%c") then return name end
  return json.quote(json.cut(name, 60))
end

local function below(path, name)
  return path == "" and short(name) or path .. "." .. short(name)
end

local WELL_KNOWN = {}

local function check_message(kind, value, path, problems, without)
  local own = WELL_KNOWN[kind]
  if own then return own(value, path, problems) end
  if type(value) ~= "table" or not value.members then
    return problems:add(path == "" and "body" or path, "must be an object")
  end
  local message, taken = contract.messages[kind], {}
  for _, name in ipairs(value.names) do
    local inner, where = value.members[name], below(path, name)
    local field = not (without and without[name]) and message.fields[name]
    local other = field and field.oneof and inner ~= json.null and taken[field.oneof]
    if not field then
      local allowed = {}
      for _, known in ipairs(message.names) do
        if not (without and without[known]) then allowed[#allowed + 1] = known end
      end
      local rule = #allowed > 0 and "allowed: " .. table.concat(allowed, ", ") or "none is allowed"
      problems:add(where, "unknown field; " .. rule)
    elseif other then
      problems:add(where, "must not be given together with " .. other)
    else
      if field.oneof and inner ~= json.null then taken[field.oneof] = name end
      fields.check_field(field, inner, where, problems)
    end
  end
end

local function check_one(field, value, path, problems)
  if field.message then return check_message(field.message, value, path, problems) end
  local rule = check_scalar(field, value)
  if rule then problems:add(path, rule) end
end

function fields.check_field(field, value, path, problems)
  if value == json.null and (field.list or field.map or field.message ~= "google.protobuf.Value") then
    return -- null stands for an unset field
  end
  if field.map then
    if type(value) ~= "table" or not value.members then return problems:add(path, "must be an object") end
    for _, key in ipairs(value.names) do
      check_one(field, value.members[key], below(path, key), problems)
    end
  elseif field.list then
    if type(value) ~= "table" or not value.list then return problems:add(path, "must be a list") end
    for index, element in ipairs(value.list) do
      check_one(field, element, string.format("%s[%d]", path, index - 1), problems)
    end
  else
    check_one(field, value, path, problems)
  end
end

local function check_value(value, path, problems)
  if type(value) ~= "table" or value == json.null then return end
  if value.members then
    WELL_KNOWN["google.protobuf.Struct"](value, path, problems)
  elseif value.list then
    WELL_KNOWN["google.protobuf.ListValue"](value, path, problems)
  elseif value.exact and math.abs(value.value) > SAFE_INTEGER then
    problems:add(path, "whole numbers beyond 2^53 lose digits here; send it as a string")
  end
end

WELL_KNOWN["google.protobuf.Value"] = check_value

WELL_KNOWN["google.protobuf.Struct"] = function(value, path, problems)
  if type(value) ~= "table" or not value.members then return problems:add(path, "must be an object") end
  for _, key in ipairs(value.names) do
    check_value(value.members[key], path .. "." .. short(key), problems)
  end
end

WELL_KNOWN["google.protobuf.ListValue"] = function(value, path, problems)
  if type(value) ~= "table" or not value.list then return problems:add(path, "must be a list") end
  for index, element in ipairs(value.list) do
    check_value(element, string.format("%s[%d]", path, index - 1), problems)
  end
end

WELL_KNOWN["google.protobuf.Timestamp"] = function(value, path, problems)
  -- The transcoder takes capital letters only.
  if type(value) ~= "string" or value:find("[tz]") or not instants.read(value) then
    problems:add(path, instants.RULE)
  end
end

WELL_KNOWN["google.protobuf.Duration"] = function(value, path, problems)
  if type(value) ~= "string" or not instants.is_duration(value) then
    problems:add(path, instants.DURATION_RULE)
  end
end

-- NUL and halves of surrogate pairs come in by escapes only; the first one is reported.
local function text_fault(value, path)
  if type(value) == "string" then
    local rule = json.text_rule(value)
    if rule then return path == "" and "body" or path, rule end
  elseif type(value) == "table" and value.list then
    for index, element in ipairs(value.list) do
      local where, rule = text_fault(element, string.format("%s[%d]", path, index - 1))
      if rule then return where, rule end
    end
  elseif type(value) == "table" and value.members then
    for _, name in ipairs(value.names) do
      local where, rule = text_fault(name, path)
      if not rule then
        where, rule = text_fault(value.members[name], path == "" and name or path .. "." .. name)
      end
      if rule then return where, rule end
    end
  end
end

-- Reports to `problems` what is wrong with the text of a body that holds a message of type `kind`;
-- fields in the set `without` are not accepted.
function fields.check_body(text, kind, without, problems)
  local value, rule = json.parse(text)
  if rule then return problems:add("body", rule) end
  local where, broken = text_fault(value, "")
  if broken then return problems:add(where, broken) end
  if type(value) ~= "table" or not value.members then
    return problems:add("body", "must be a JSON object")
  end
  check_message(kind, value, "", problems, without)
end

return fields
