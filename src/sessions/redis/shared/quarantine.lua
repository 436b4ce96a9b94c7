-- Shared: the quarantine of a partition, a hash of unreadable values. The field is the user id, or the stream and the
-- entry id; the value is the raw bytes. It keeps at most MAX_ASIDE values, each cut to MAX_ASIDE_BYTES. Further values
-- are dropped, but still counted.
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
