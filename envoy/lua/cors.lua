-- Cross-origin calls from browsers (Fetch standard, 3.2): off unless origins are named. Tokens travel
-- in a header that the page sets itself, so credentials (cookies) are never allowed.

local contract = require("contract")

local cors = {}

local ALLOWED = "Authorization, Content-Type, Idempotency-Key, X-Request-Id, X-Distill-Simulate, Traceparent, Tracestate"
local EXPOSED = "X-Request-Id, Retry-After"
-- What gRPC-Web clients send and read beyond that.
local ALLOWED_GRPC = ", X-Grpc-Web, X-User-Agent, Grpc-Timeout"
local EXPOSED_GRPC = ", Grpc-Status, Grpc-Message, Grpc-Status-Details-Bin"

local any, origins, off = false, {}, true
for _, origin in ipairs(contract.cors_origins) do
  off = false
  if origin == "*" then any = true end
  origins[origin:gsub("/+$", ""):lower()] = true
end

-- The value for `Access-Control-Allow-Origin`, or nil.
function cors.allowed(origin)
  if off or not origin or origin == "" then return nil end
  if any then return "*" end
  return origins[origin:lower()] and origin or nil
end

-- Sets the headers of any answer to a request from an origin.
function cors.set(headers, allowed, grpc)
  if off then return end
  if not any then headers:add("vary", "Origin") end
  if not allowed then return end
  headers:replace("access-control-allow-origin", allowed)
  headers:replace("access-control-expose-headers", EXPOSED .. (grpc and EXPOSED_GRPC or ""))
end

-- What a preflight is told beyond that.
function cors.preflight(answer, methods, grpc)
  answer["access-control-allow-methods"] = methods
  answer["access-control-allow-headers"] = ALLOWED .. (grpc and ALLOWED_GRPC or "")
  answer["access-control-max-age"] = "600"
end

return cors
