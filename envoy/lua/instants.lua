-- Instants as RFC 3339 writes them, and durations as ProtoJSON writes them.

local instants = {}

instants.RULE = "must be an instant with its offset (RFC 3339), such as 2024-01-10T10:00:00Z"
instants.DURATION_RULE = "must be seconds as a string, such as 1800s"

local MONTHS = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 }
local MAX_DURATION = 315576000000 -- seconds; google/protobuf/duration.proto
-- Of years 1 to 9999; google/protobuf/timestamp.proto.
local FIRST, LAST = -62135596800, 253402300799

local function is_leap(year)
  return year % 4 == 0 and (year % 100 ~= 0 or year % 400 == 0)
end

-- Days since 1970-01-01 in the Gregorian calendar.
local function days(year, month, day)
  local before = year - 1
  local count = before * 365 + math.floor(before / 4) - math.floor(before / 100) + math.floor(before / 400)
  for i = 1, month - 1 do
    count = count + MONTHS[i] + (i == 2 and is_leap(year) and 1 or 0)
  end
  return count + day - 719163
end

-- Seconds since the epoch, and the fraction as written (`.5`, or empty); nil where it is no instant.
function instants.read(text)
  local year, month, day, hour, minute, second, rest =
    text:match("^(%d%d%d%d)%-(%d%d)%-(%d%d)[Tt](%d%d):(%d%d):(%d%d)(.*)$")
  if not year then return nil end
  year, month, day = tonumber(year), tonumber(month), tonumber(day)
  hour, minute, second = tonumber(hour), tonumber(minute), tonumber(second)
  local fraction = rest:match("^%.%d+") or ""
  if #fraction > 10 then return nil end
  local offset = rest:sub(#fraction + 1)
  local shift = 0
  if not offset:match("^[Zz]$") then
    local sign, hours, minutes = offset:match("^([+-])(%d%d):(%d%d)$")
    if not sign or tonumber(hours) > 23 or tonumber(minutes) > 59 then return nil end
    shift = (tonumber(hours) * 60 + tonumber(minutes)) * (sign == "-" and -60 or 60)
  end
  if year < 1 or month < 1 or month > 12 or day < 1 or hour > 23 or minute > 59 or second > 59 then
    return nil
  end
  if day > MONTHS[month] + (month == 2 and is_leap(year) and 1 or 0) then return nil end
  local since = days(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - shift
  if since < FIRST or since > LAST then return nil end
  return since, fraction
end

-- An instant in UTC, whole seconds.
function instants.write(since)
  return os.date("!%Y-%m-%dT%H:%M:%SZ", since)
end

function instants.is_duration(text)
  local whole, fraction = text:match("^%-?(%d+)(%.?%d*)s$")
  return whole ~= nil and #whole <= 12 and tonumber(whole) <= MAX_DURATION
    and (fraction == "" or (#fraction > 1 and #fraction <= 10))
end

-- Time since a start as `/health` shows it: `2 days, 3:24:15`.
function instants.span(seconds)
  local whole = math.floor(seconds / 86400)
  local clock = string.format(
    "%d:%02d:%02d", math.floor(seconds % 86400 / 3600), math.floor(seconds % 3600 / 60), seconds % 60
  )
  if whole == 0 then return clock end
  return string.format("%d day%s, %s", whole, whole == 1 and "" or "s", clock)
end

return instants
