-- Shared: the quarantine of a partition, a hash of what could not be read: field = user id, or stream and entry id; value =
-- the raw bytes. It is bounded in values and in the bytes of each. What finds no room is dropped, and counted all the same.
local MAX_ASIDE = 64
local MAX_ASIDE_BYTES = 4096

-- Copies a value into the quarantine and counts it. The caller deletes the original, as the last write of the same step.
local function set_aside(field, raw)
  if redis.call('HLEN', aside_key) < MAX_ASIDE then
    local added = redis.call('HSETNX', aside_key, field, string.sub(raw, 1, MAX_ASIDE_BYTES))
    if added == 1 then undo[#undo + 1] = { 'HDEL', aside_key, field } end
  end
  count('unreadable', 1)
end
