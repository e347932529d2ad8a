-- Requests on their way in: refuses what the contract does not allow, and hands the rest to the
-- transcoder in one spelling.

local contract = require("contract")
local cors = require("cors")
local errors = require("errors")
local fields = require("fields")
local forwarded = require("forwarded")
local Problems = require("problems")
local query = require("query")
local routes = require("routes")

local request = {}

local ALL_METHODS = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"
local DEADLINE, STREAM_DEADLINE = "30S", "300S" -- grpc-timeout
local FORM = "application/x-www-form-urlencoded"
local FORM_HINT = "The body must be JSON with the content type application/json; "
  .. "curl says so with -H 'Content-Type: application/json' or --json."

-- Tells the response's side what it must know of the request.
local function note(handle, key, value)
  handle:streamInfo():dynamicMetadata():set("distill", key, value)
end

local function answer(handle, status, body, headers)
  note(handle, "answered", true)
  headers[":status"] = tostring(status)
  handle:respond(headers, body)
end

local function refuse(handle, path, found, headers)
  local status, body, own = errors.render(found, nil, path)
  for name, value in pairs(headers or {}) do
    own[name] = value
  end
  own["content-type"] = contract.json_type
  answer(handle, status, body, own)
end

local function invalid(handle, path, field, rule)
  local problems = Problems.new()
  problems:add(field, rule)
  refuse(handle, path, errors.of("INVALID_ARGUMENT", nil, nil, problems))
end

-- True for JSON in UTF-8; no type at all is taken for that.
local function is_json(content_type)
  local kind, rest = content_type:match("^%s*([^;%s]+)%s*(.*)$")
  kind = (kind or ""):lower()
  if kind ~= "application/json" and not kind:find("^application/[^/]+%+json$") then return false end
  local charset = rest:lower():match(";%s*charset%s*=%s*\"?([^\";%s]*)")
  return charset == nil or charset == "utf-8" or charset == "utf8" or charset == "us-ascii"
end

-- Refuses a body by its headers; true where it did.
local function refuses_body(handle, headers, path, any_type)
  local length = tonumber(headers:get("content-length") or "")
  if length == 0 or not (length or headers:get("transfer-encoding")) then return false end
  local expected = headers:get("expect")
  if expected and expected:lower() ~= "100-continue" then
    invalid(handle, path, "expect", "must be 100-continue (RFC 9110, 10.1.1)")
    return true
  end
  if length and length > contract.body_limit then
    request.too_large(handle, path)
    return true
  end
  local content_type = headers:get("content-type")
  if content_type and not any_type and not is_json(content_type) then
    local form = content_type:lower():match("^[^;%s]*") == FORM
    local facts = { content_type = content_type:sub(1, 100) }
    refuse(handle, path, errors.of("UNSUPPORTED_MEDIA_TYPE", form and FORM_HINT, facts))
    return true
  end
  local coding = (headers:get("content-encoding") or "identity"):lower()
  if coding ~= "identity" then
    local facts = { content_encoding = coding:sub(1, 100) }
    refuse(handle, path, errors.of("UNSUPPORTED_MEDIA_TYPE", "The body must not be compressed.", facts))
    return true
  end
  return false
end

function request.too_large(handle, path)
  local limit = string.format("%d bytes", contract.body_limit)
  local message = string.format("The body is larger than %s.", limit)
  refuse(handle, path, errors.of("PAYLOAD_TOO_LARGE", message, { limit = limit }))
end

local function read_body(handle)
  local buffer = handle:body(true)
  local length = buffer:length()
  return buffer, length, length > 0 and buffer:getBytes(0, length) or ""
end

local function check_body(rpc, text, problems)
  if text == "" then return end
  if rpc.takes_raw then return end
  if not rpc.body then return problems:add("body", "this endpoint takes none") end
  if text:find("^[ \t\r\n]*$") then return end
  fields.check_body(text, rpc.body, rpc.in_path, problems)
end

local function call(handle, headers, match, path, query_text)
  local rpc = match.target
  local looked_at = rpc.optional_token or not rpc.public
  if forwarded.authorization(headers) == "ambiguous" and looked_at then
    return refuse(handle, path, errors.of("AUTHENTICATION_FAILED"))
  end
  if rpc.keyed and forwarded.bad_key(headers) then
    return invalid(handle, path, "idempotency-key", "must be 1 to 255 visible ASCII characters")
  end
  local problems = Problems.new()
  query.check_path(rpc, match.values, problems)
  if problems:any() then
    return refuse(handle, path, errors.of("INVALID_ARGUMENT", nil, nil, problems))
  end
  if refuses_body(handle, headers, path, rpc.takes_raw) then return end
  local buffer, length, text = read_body(handle)
  headers = handle:headers() -- the old ones are gone after a wait
  if length > contract.body_limit then return request.too_large(handle, path) end
  local spelled = query.check(rpc, query_text, problems)
  if not problems:any() and not rpc.takes_raw then check_body(rpc, text, problems) end
  if problems:any() then
    return refuse(handle, path, errors.of("INVALID_ARGUMENT", nil, nil, problems))
  end
  if length > 0 and not rpc.takes_raw then
    if text:find("^[ \t\r\n]*$") then buffer:setBytes("{}") end
    headers:replace("content-type", "application/json")
  elseif length == 0 then
    headers:remove("content-type")
  end
  local canonical = routes.canonical(match.template, match.values)
  if spelled ~= "" then canonical = canonical .. "?" .. spelled end
  headers:replace(":path", canonical)
  local head = headers:get(":method") == "HEAD"
  if head then headers:replace(":method", "GET") end
  forwarded.strip(headers, false, rpc.keyed, rpc.headers)
  if head then headers:replace("x-http-method", "HEAD") end
  headers:replace("grpc-timeout", rpc.streams and STREAM_DEADLINE or DEADLINE)
end

local function page(handle, headers, found)
  if found.pass then
    forwarded.strip(headers, false)
    headers:remove("authorization")
    if headers:get(":method") == "HEAD" then headers:replace(":method", "GET") end
    return
  end
  local told = {}
  for name, value in pairs(found.headers) do
    told[name] = value
  end
  answer(handle, found.status, found.body, told)
end

local function options(handle, headers, allowed, origin, grpc)
  local told = { allow = allowed }
  if origin and headers:get("access-control-request-method") then
    cors.preflight(told, allowed, grpc)
  end
  answer(handle, 204, "", told)
end

local function rest(handle, headers, method, path, query_text)
  if path == "*" and method == "OPTIONS" then
    return options(handle, headers, ALL_METHODS, cors.allowed(headers:get("origin")))
  end
  local match, rule = routes.find(method, path)
  if rule then return invalid(handle, path, "path", rule) end
  if not match then
    local message = "There is no such path. GET /api lists them."
    return refuse(handle, path, errors.of("NOT_FOUND", message))
  end
  if not match.target then
    if method == "OPTIONS" then
      return options(handle, headers, match.allowed, cors.allowed(headers:get("origin")))
    end
    return refuse(handle, path, errors.of("METHOD_NOT_ALLOWED"), { allow = match.allowed })
  end
  local target = match.target
  if not target.request then return page(handle, headers, target) end
  note(handle, "rpc", target.name)
  if target.response_body then note(handle, "unwrap", target.response_body) end
  if target.answers_raw then note(handle, "raw", true) end
  if target.method == "GET" then note(handle, "reads", true) end
  if target.streams then note(handle, "streams", true) end
  -- The same for everybody: may be kept, and asked for again.
  local for_all = target.public and target.method == "GET" and not target.optional_token
  if for_all then note(handle, "public", true) end
  if headers:get("x-distill-simulate") then note(handle, "simulated", true) end
  return call(handle, headers, match, path, query_text)
end

function request.handle(handle)
  local headers = handle:headers()
  local method, target = headers:get(":method"), headers:get(":path") or ""
  local path, query_text = target:match("^([^?]*)%??(.*)$")
  forwarded.fix_request_id(headers)
  note(handle, "path", path)
  if errors.is_publishing(path) then note(handle, "publishing", true) end
  if method == "HEAD" then note(handle, "head", true) end
  local origin = cors.allowed(headers:get("origin"))
  if origin then note(handle, "origin", origin) end
  if (headers:get("content-type") or ""):find("^application/grpc") then
    note(handle, "grpc", true)
    forwarded.authorization(headers)
    return forwarded.strip(headers, true)
  end
  if method == "OPTIONS" and path:find("^/[%w_]+%.[%w_.]+/[%w_]+$") then
    note(handle, "grpc", true)
    return options(handle, headers, "OPTIONS, POST", origin, true)
  end
  return rest(handle, headers, method, path, query_text)
end

-- The answer to a request that this code itself fails on.
function request.failed(handle)
  local path = handle:headers():get(":path") or ""
  refuse(handle, path, errors.of("INTERNAL_ERROR"))
end

return request
