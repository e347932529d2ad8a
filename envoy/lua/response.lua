-- Answers on their way out: the HTTP status that the core asked for, the seeds' error bodies, lists at
-- the top level, and the headers of every answer.

local contract = require("contract")
local cors = require("cors")
local errors = require("errors")
local instants = require("instants")
local json = require("json")

local response = {}

local STARTED = os.time()
local AWAY = { UNAVAILABLE = true, DEADLINE_EXCEEDED = true }
-- JSON is never a page: nothing in it may run, and nobody may frame it.
local BASE = {
  ["x-content-type-options"] = "nosniff",
  ["content-security-policy"] = "default-src 'none'; frame-ancestors 'none'",
  ["referrer-policy"] = "no-referrer",
  ["cache-control"] = "no-store",
}
-- What the core tells a door and not its clients.
local INTERNAL = { "x-http-code", "grpc-status", "grpc-message", "grpc-accept-encoding", "grpc-encoding" }

local function finish(headers, noted)
  for _, name in ipairs(INTERNAL) do
    headers:remove(name)
  end
  for name, value in pairs(BASE) do
    if not headers:get(name) then headers:add(name, value) end
  end
  cors.set(headers, noted.origin, false)
end

local function http_code(text)
  local code = tonumber((text or ""):match("^[2-5]%d%d$"))
  return code or 200
end

-- What `/health` says while the core cannot be asked (seed 002's shape).
local function core_away(found)
  return string.format(
    '{"status":"unhealthy","version":%s,"uptime":%s,"active_users":0,'
      .. '"platform_api_status":"unknown","degraded_parts":{"core":%s}}',
    json.quote(contract.version),
    json.quote(instants.span(os.time() - STARTED)),
    json.quote(found.message)
  )
end

local function replace_body(handle, text, noted)
  handle:body(true):setBytes(noted.head and "" or text)
  local headers = handle:headers() -- the old ones are gone after a wait
  headers:replace("content-length", tostring(#text))
  return headers
end

-- The error that the core answered with, and the HTTP status that it asked for.
local function core_error(handle)
  local buffer = handle:body(true)
  local found = errors.read(buffer:length() > 0 and buffer:getBytes(0, buffer:length()) or "")
  local headers, trailers = handle:headers(), handle:trailers()
  local asked = headers:get("x-http-code") or (trailers and trailers:get("x-http-code"))
  if found.foreign then handle:logWarn("status without a reason: " .. found.grpc) end
  return found, asked
end

local function failed(handle, noted, found, asked)
  local status, body, own = errors.render(found, asked, noted.path)
  if noted.rpc == contract.health_rpc and AWAY[found.reason] and not noted.simulated then
    status, body, own = 503, core_away(found), {}
  end
  headers = replace_body(handle, body, noted)
  headers:replace(":status", tostring(status))
  headers:replace("content-type", contract.json_type)
  for name, value in pairs(own) do
    headers:replace(name, value)
  end
  return headers
end

-- Names events that the transcoder has printed one a line as `data: {"<kind>":…}`; no line ends within one.
local function named(text)
  return (("\n" .. text):gsub('\ndata: {"([%w_]+)":', '\nevent: %1\ndata: {"%1":'):sub(2))
end

-- A stream of events, handed on piece by piece.
local function stream(handle, headers, noted)
  headers:replace("content-type", "text/event-stream; charset=utf-8")
  headers:replace("x-accel-buffering", "no")
  finish(headers, noted)
  for chunk in handle:bodyChunks() do
    local length = chunk:length()
    if length > 0 then chunk:setBytes(named(chunk:getBytes(0, length))) end
  end
end

local function succeeded(handle, headers, noted)
  local status = http_code(headers:get("x-http-code"))
  headers:replace(":status", tostring(status))
  if not noted.raw then headers:replace("content-type", contract.json_type) end
  if noted.public and status == 200 then headers:replace("cache-control", "no-cache") end
  if not noted.unwrap and not noted.head then return headers end
  local buffer = handle:body(true)
  local text = buffer:length() > 0 and buffer:getBytes(0, buffer:length()) or ""
  if noted.unwrap then text = json.member(text, noted.unwrap) end
  return replace_body(handle, text, noted)
end

function response.handle(handle)
  local noted = handle:streamInfo():dynamicMetadata():get("distill") or {}
  local headers = handle:headers()
  if noted.grpc then
    -- Of a browser's call, the origin is the only thing to answer.
    return cors.set(headers, noted.origin, true)
  end
  if noted.rpc and not noted.answered then
    local status = tonumber(headers:get(":status"))
    local from_core = headers:get("content-type") == "application/json"
    if status < 400 and noted.streams then
      return stream(handle, headers, noted)
    elseif status < 400 and (from_core or noted.raw) then
      headers = succeeded(handle, headers, noted)
    elseif from_core then
      headers = failed(handle, noted, core_error(handle))
    elseif status == 503 or status == 504 then
      headers = failed(handle, noted, errors.of_core_away(status)) -- Envoy's own words
    end
  end
  finish(headers, noted)
end

return response
