-- Shared: reads the time once, so that the whole script works with one instant. Only tests pass a time.
local function read_clock(given)
  if given ~= '' then return tonumber(given) end
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
