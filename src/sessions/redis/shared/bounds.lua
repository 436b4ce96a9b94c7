-- Shared: bounds on the streams of callbacks. What is dropped is counted in the state of the partition: `lost` for the
-- receiver of CALLBACK_URL, and `lost:RECEIVER` for others, whose streams end in `:RECEIVER`.

-- Drops the oldest entries beyond `most`. Nothing here can fail the step that was done.
local function keep_within(stream, most)
  local length = redis.pcall('XLEN', stream)
  if type(length) ~= 'number' or length <= most then return end
  local field = 'lost' .. string.match(stream, ':[od](:?[^:]*)$')
  -- Counted first, and taken back if nothing was dropped after all.
  if type(redis.pcall('HINCRBY', state_key, field, length - most)) ~= 'number' then return end
  if type(redis.pcall('XTRIM', stream, 'MAXLEN', most)) ~= 'number' then
    redis.pcall('HINCRBY', state_key, field, most - length)
  end
end
