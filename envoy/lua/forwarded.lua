-- The headers that travel on to the core; everything else that a client sends stays here, because
-- each would become metadata.

local forwarded = {}

local KEPT = {
  [":method"] = true,
  [":path"] = true,
  [":authority"] = true,
  [":scheme"] = true,
  host = true,
  ["authorization"] = true,
  ["content-length"] = true,
  ["content-type"] = true,
  ["transfer-encoding"] = true,
  ["x-forwarded-for"] = true, -- Envoy has appended whom it speaks to; whom to believe, the core knows
  ["x-forwarded-proto"] = true, -- without it Envoy finds no route; the route takes it away
  ["x-request-id"] = true,
}
-- What gRPC and gRPC-Web themselves need.
local KEPT_GRPC = {
  ["accept"] = true,
  ["grpc-accept-encoding"] = true,
  ["grpc-encoding"] = true,
  ["grpc-timeout"] = true,
  ["te"] = true,
  ["user-agent"] = true,
  ["x-grpc-web"] = true,
  ["idempotency-key"] = true,
}

local function single(headers, name)
  return headers:getNumValues(name) == 1 and headers:get(name) or nil
end

local function random_id()
  local source = io.open("/dev/urandom", "rb")
  local bytes = source and source:read(16)
  if source then source:close() end
  if not bytes then error("no source of randomness") end
  return (bytes:gsub(".", function(byte) return string.format("%02x", byte:byte()) end))
end

-- The client's id where it is a plain word, else a new one.
function forwarded.fix_request_id(headers)
  local given = single(headers, "x-request-id")
  if not given or #given > 128 or not given:find("^[%w._-]+$") then
    headers:replace("x-request-id", random_id())
  end
end

-- Two `Authorization` headers, or one that is no printable ASCII, could be read differently by two
-- readers: "ambiguous", and none is carried. Envoy joins two of them by a comma, which no token has.
function forwarded.authorization(headers)
  local count = headers:getNumValues("authorization")
  if count == 0 then return "none" end
  local token = single(headers, "authorization")
  if token and token:find("^[\33-\126][\32-\126]*$") and not token:find(",") then return "one" end
  headers:remove("authorization")
  return "ambiguous"
end

-- True where an `Idempotency-Key` is there that is no key.
function forwarded.bad_key(headers)
  if headers:getNumValues("idempotency-key") == 0 then return false end
  local key = single(headers, "idempotency-key")
  return not (key and #key <= 255 and key:find("^[\33-\126]+$"))
end

-- Takes away every header that the core must not see. `also` is the set of those that the RPC asks for;
-- one that is ambiguous is left out.
function forwarded.strip(headers, grpc, keyed, also)
  local kept = { ["idempotency-key"] = keyed }
  local trace, state = single(headers, "traceparent"), single(headers, "tracestate")
  if trace and trace:find("^%x%x%-%x+%-%x+%-%x%x$") and #trace == 55 and trace == trace:lower() then
    kept.traceparent = true
    kept.tracestate = state and #state <= 512 and state:find("^[\32-\126]+$") ~= nil
  end
  local simulate = single(headers, "x-distill-simulate")
  -- Outside mock mode the core ignores it.
  kept["x-distill-simulate"] = simulate and #simulate <= 1000 and simulate:find("^[\32-\126]+$") ~= nil
  for name in pairs(also or {}) do
    local value = single(headers, name)
    kept[name] = value and #value <= 1000 and value:find("^[\32-\126]+$") ~= nil
  end
  local doomed = {}
  for name in pairs(headers) do
    if not (KEPT[name] or kept[name] or (grpc and KEPT_GRPC[name])) then doomed[#doomed + 1] = name end
  end
  for _, name in ipairs(doomed) do
    headers:remove(name)
  end
end

return forwarded
