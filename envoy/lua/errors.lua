-- Errors as the seeds print them, from a `google.rpc.Status`: seed 001's body under /api/v1, seed
-- 002's everywhere else. The rules are those of the facade's errors.py.

local contract = require("contract")
local instants = require("instants")
local json = require("json")

local errors = {}

-- What a canonical code means where no reason of ours came with it; every other is our own fault.
local BY_CODE = {
  [1] = "UNAVAILABLE",
  [3] = "INVALID_ARGUMENT",
  [4] = "DEADLINE_EXCEEDED",
  [5] = "NOT_FOUND",
  [8] = "RATE_LIMITED",
  [9] = "INVALID_ARGUMENT",
  [11] = "INVALID_ARGUMENT",
  [14] = "UNAVAILABLE",
  [16] = "AUTHENTICATION_FAILED",
}
local RESERVED = { retry_after = true, user_action_required = true }
local RETRY_IN = 1 -- seconds; a core that restarts is back about then

function errors.is_publishing(path)
  return path == "/api/v1" or path:sub(1, 8) == "/api/v1/"
end

-- An error of this door itself: `facts` are details, `problems` name fields.
function errors.of(reason, message, facts, problems)
  local found = { reason = reason, message = message or contract.errors[reason].message }
  found.metadata, found.names, found.rules = facts or {}, {}, {}
  if problems then
    local said = {}
    for i, name in ipairs(problems.fields) do
      found.names[i], found.rules[name] = name, problems.rules[name]
      said[i] = name .. ": " .. problems.rules[name]
    end
    found.message = "Invalid request: " .. table.concat(said, "; ")
  end
  return found
end

-- The error of a core that Envoy could not reach (503) or gave up (504).
function errors.of_core_away(status)
  local found = errors.of(status == 503 and "UNAVAILABLE" or "DEADLINE_EXCEEDED")
  found.retry_in = status == 503 and RETRY_IN or nil
  return found
end

local function members(value)
  return type(value) == "table" and value.members or {}
end

local function items(value)
  return type(value) == "table" and value.list or {}
end

local function read_info(info, found)
  if info.domain ~= contract.domain or not contract.errors[info.reason] then return end
  found.reason = info.reason
  found.metadata = members(info.metadata)
end

local function read_violations(broken, found)
  for _, one in ipairs(items(broken.field_violations)) do
    local violation = members(one)
    local name, before = violation.field or "", found.rules[violation.field or ""]
    if not before then found.names[#found.names + 1] = name end
    found.rules[name] = (before and before .. "; " or "") .. (violation.description or "")
  end
end

-- The error that the JSON of a `google.rpc.Status` tells of. The text of a status without a reason of
-- ours is not shown: it comes from a library or a proxy and may tell of the inside.
function errors.read(text)
  local status = members((json.parse(text)))
  local found = { metadata = {}, names = {}, rules = {} }
  for _, one in ipairs(items(status.details)) do
    local detail = members(one)
    local kind = tostring(detail["@type"]):match("[^/]*$")
    if kind == "google.rpc.ErrorInfo" then
      read_info(detail, found)
    elseif kind == "google.rpc.BadRequest" then
      read_violations(detail, found)
    elseif kind == "google.rpc.RetryInfo" then
      found.retry_in = tonumber((tostring(detail.retry_delay):gsub("s$", "")))
    elseif kind == "google.rpc.Help" then
      found.action_url = members(items(detail.links)[1]).url
    end
  end
  local code = type(status.code) == "table" and status.code.value
  if found.reason then
    found.message = status.message
  else
    found = { metadata = {}, names = {}, rules = {}, foreign = true }
    found.reason = BY_CODE[code] or "INTERNAL_ERROR"
    found.grpc = string.format("%s %s", tostring(code), tostring(status.message))
    if code == 14 then found.retry_in = RETRY_IN end
  end
  found.message = type(found.message) == "string" and found.message ~= "" and found.message
    or contract.errors[found.reason].message
  return found
end

local function object(names, values)
  local parts = {}
  for i, name in ipairs(names) do
    parts[i] = json.quote(name) .. ":" .. json.quote(values[name])
  end
  return "{" .. table.concat(parts, ",") .. "}"
end

local function details(found)
  if #found.names > 0 then return object(found.names, found.rules) end
  local names = {}
  for name in pairs(found.metadata) do
    if not RESERVED[name] then names[#names + 1] = name end
  end
  table.sort(names)
  return #names > 0 and object(names, found.metadata) or nil
end

-- The instant for the body and the seconds for the header (RFC 9110, 10.2.3).
local function retry(found, now)
  local at = found.metadata.retry_after and instants.read(found.metadata.retry_after)
  local seconds = found.retry_in
  if not at and not seconds then return nil end
  at = at or now + math.ceil(seconds)
  return instants.write(at), math.max(0, math.ceil(seconds or at - now))
end

-- The HTTP status, the body and the headers that say an error; `asked` is the core's `x-http-code`.
function errors.render(found, asked, path)
  local rules = contract.errors[found.reason]
  local code = asked and asked:match("^[45]%d%d$")
  local status = code and tonumber(code) or rules.status
  local at, seconds = retry(found, os.time())
  local headers = {}
  if seconds then headers["retry-after"] = string.format("%d", seconds) end
  if status == 401 then headers["www-authenticate"] = "Bearer" end
  local parts = {}
  local function say(name, value)
    parts[#parts + 1] = json.quote(name) .. ":" .. value
  end
  if errors.is_publishing(path) then
    say("detail", json.quote(found.message))
    say("code", json.quote(found.reason))
    say("field_errors", object(found.names, found.rules))
  else
    local told, needs_user = details(found), found.metadata.user_action_required
    if needs_user == nil then needs_user = tostring(rules.user_action_required) end
    say("error", json.quote(found.reason:lower()))
    say("message", json.quote(found.message))
    if told then say("details", told) end
    if at then say("retry_after", json.quote(at)) end
    say("user_action_required", needs_user == "true" and "true" or "false")
    if found.action_url then say("action_url", json.quote(found.action_url)) end
  end
  return status, "{" .. table.concat(parts, ",") .. "}", headers
end

return errors
