-- Reads JSON (RFC 8259) strictly, and writes strings.
--
-- Objects become {names = {in order}, members = {name -> value}}, lists {list = {...}}, numbers
-- {text = as written, value = as a double}; strings, booleans and `null` are themselves.

local json = {}

json.null = setmetatable({}, { __tostring = function() return "null" end })

local MAX_DEPTH = 64
local MAX_DIGITS = 4300
local ESCAPES = { ['"'] = '"', ["\\"] = "\\", ["/"] = "/", b = "\b", f = "\f", n = "\n", r = "\r", t = "\t" }

local function fault(rule)
  error({ rule = rule }, 0)
end

local function unreadable(what, position)
  fault(string.format("must be JSON (%s at character %d)", what, position - 1))
end

local function skip(text, position)
  return text:find("[^ \t\r\n]", position) or #text + 1
end

function json.utf8(code)
  if code < 0x80 then return string.char(code) end
  local tail = string.char(0x80 + code % 0x40)
  code = math.floor(code / 0x40)
  if code < 0x20 then return string.char(0xC0 + code) .. tail end
  tail = string.char(0x80 + code % 0x40) .. tail
  code = math.floor(code / 0x40)
  if code < 0x10 then return string.char(0xE0 + code) .. tail end
  return string.char(0xF0 + math.floor(code / 0x40), 0x80 + code % 0x40) .. tail
end

-- The place of the first byte that is not UTF-8 (RFC 3629), or nil.
function json.not_utf8(text)
  local at = text:find("[\128-\255]")
  while at do
    local a, b = text:byte(at, at + 1)
    b = b or 0
    local length
    if a >= 0xC2 and a <= 0xDF then
      length = 2
    elseif a >= 0xE0 and a <= 0xEF then
      length = 3
      if (a == 0xE0 and b < 0xA0) or (a == 0xED and b > 0x9F) then return at end
    elseif a >= 0xF0 and a <= 0xF4 then
      length = 4
      if (a == 0xF0 and b < 0x90) or (a == 0xF4 and b > 0x8F) then return at end
    else
      return at
    end
    for i = at + 1, at + length - 1 do
      local byte = text:byte(i)
      if not byte or byte < 0x80 or byte > 0xBF then return at end
    end
    at = text:find("[\128-\255]", at + length)
  end
end

local function read_escape(text, position)
  local mark = text:sub(position + 1, position + 1)
  if mark ~= "u" then
    local plain = ESCAPES[mark]
    if not plain then unreadable("invalid \\escape", position) end
    return plain, position + 2
  end
  local digits = text:match("^%x%x%x%x", position + 2)
  if not digits then unreadable("invalid \\uXXXX escape", position) end
  local code = tonumber(digits, 16)
  position = position + 6
  if code >= 0xD800 and code <= 0xDBFF then
    local low = text:match("^\\u([Dd][C-Fc-f]%x%x)", position)
    if low then
      code = 0x10000 + (code - 0xD800) * 0x400 + tonumber(low, 16) - 0xDC00
      position = position + 6
    end
  end
  return json.utf8(code), position -- half of a pair becomes bytes that `text_rule` finds
end

local function read_string(text, position)
  local parts, from = {}, position + 1
  while true do
    local stop = text:find('[%z\1-\31"\\]', from)
    if not stop then unreadable("unterminated string", position) end
    parts[#parts + 1] = text:sub(from, stop - 1)
    local mark = text:sub(stop, stop)
    if mark == '"' then return table.concat(parts), stop + 1 end
    if mark ~= "\\" then unreadable("invalid control character", stop) end
    parts[#parts + 1], from = read_escape(text, stop)
  end
end

local function read_number(text, position)
  local _, stop = text:find("^-?%d+", position)
  if not stop or text:find("^-?0%d", position) then unreadable("expecting value", position) end
  if stop - position > MAX_DIGITS then fault("must not contain numbers of thousands of digits") end
  local _, fraction = text:find("^%.%d+", stop + 1)
  stop = fraction or stop
  local _, exponent = text:find("^[eE][+-]?%d+", stop + 1)
  stop = exponent or stop
  local written = text:sub(position, stop)
  local value = tonumber(written)
  if (fraction or exponent) and (value == math.huge or value == -math.huge) then
    fault("must not contain numbers as large as " .. written:sub(1, 20))
  end
  return { text = written, value = value, exact = not fraction and not exponent }, stop + 1
end

local read_value

local function read_object(text, position, depth)
  local object = { names = {}, members = {} }
  position = skip(text, position + 1)
  if text:sub(position, position) == "}" then return object, position + 1 end
  while true do
    if text:sub(position, position) ~= '"' then
      unreadable("expecting property name enclosed in double quotes", position)
    end
    local name, value
    name, position = read_string(text, position)
    if object.members[name] ~= nil then
      fault(string.format("must not name %s twice in one object", json.quote(json.cut(name, 100))))
    end
    position = skip(text, position)
    if text:sub(position, position) ~= ":" then unreadable("expecting ':' delimiter", position) end
    value, position = read_value(text, skip(text, position + 1), depth)
    object.names[#object.names + 1] = name
    object.members[name] = value
    position = skip(text, position)
    local mark = text:sub(position, position)
    if mark == "}" then return object, position + 1 end
    if mark ~= "," then unreadable("expecting ',' delimiter", position) end
    position = skip(text, position + 1)
  end
end

local function read_list(text, position, depth)
  local list = {}
  position = skip(text, position + 1)
  if text:sub(position, position) == "]" then return { list = list }, position + 1 end
  while true do
    list[#list + 1], position = read_value(text, position, depth)
    position = skip(text, position)
    local mark = text:sub(position, position)
    if mark == "]" then return { list = list }, position + 1 end
    if mark ~= "," then unreadable("expecting ',' delimiter", position) end
    position = skip(text, position + 1)
  end
end

function read_value(text, position, depth)
  local mark = text:sub(position, position)
  if mark == '"' then return read_string(text, position) end
  if mark == "{" or mark == "[" then
    if depth == MAX_DEPTH then fault("must not be nested deeper than " .. MAX_DEPTH) end
    return (mark == "{" and read_object or read_list)(text, position, depth + 1)
  end
  if text:find("^true", position) then return true, position + 4 end
  if text:find("^false", position) then return false, position + 5 end
  if text:find("^null", position) then return json.null, position + 4 end
  local word = text:match("^NaN", position) or text:match("^-?Infinity", position)
  if word then fault("must be JSON, which has no " .. word) end
  return read_number(text, position)
end

-- The value that `text` holds; or nil and the rule that it breaks.
function json.parse(text)
  local at = json.not_utf8(text)
  if at then return nil, string.format("must be UTF-8 (the byte at %d is not)", at - 1) end
  local ok, value, position = pcall(read_value, text, skip(text, 1), 0)
  if not ok then
    if type(value) == "table" then return nil, value.rule end
    error(value, 0)
  end
  position = skip(text, position)
  if position <= #text then
    return nil, string.format("must be JSON (extra data at character %d)", position - 1)
  end
  return value
end

-- The text of the member `name` of the object that `text` holds, byte for byte, or nil.
function json.member(text, name)
  local position = skip(text, skip(text, 1) + 1)
  while text:sub(position, position) == '"' do
    local found, value
    found, position = read_string(text, position)
    local from = skip(text, skip(text, position) + 1)
    value, position = read_value(text, from, 0)
    if found == name then return text:sub(from, position - 1) end
    position = skip(text, skip(text, position) + 1)
  end
end

-- The first `count` characters of a text in UTF-8.
function json.cut(text, count)
  if #text <= count then return text end
  local at = 1
  for _ = 1, count do
    if at > #text then return text end
    local lead = text:byte(at)
    at = at + (lead >= 0xF0 and 4 or lead >= 0xE0 and 3 or lead >= 0xC0 and 2 or 1)
  end
  return text:sub(1, at - 1)
end

-- The rule that a text breaks, or nil.
function json.text_rule(text)
  if text:find("%z") then return "must not contain NUL characters" end
  if text:find("\237[\160-\191]") then return "must not contain half of a surrogate pair" end
end

function json.quote(text)
  return '"' .. text:gsub('[%z\1-\31"\\\127]', function(mark)
    if mark == '"' or mark == "\\" then return "\\" .. mark end
    return string.format("\\u%04x", mark:byte())
  end) .. '"'
end

return json
