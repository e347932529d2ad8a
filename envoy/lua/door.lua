-- What Envoy's Lua filter runs. A fault of this code refuses a request, instead of letting it pass
-- unchecked as Envoy would.

local request = require("request")
local response = require("response")

local door = {}

function door.on_request(handle)
  local ok, fault = pcall(request.handle, handle)
  if not ok then
    handle:logErr("request failed: " .. tostring(fault))
    request.failed(handle)
  end
end

function door.on_response(handle)
  response.handle(handle)
end

return door
