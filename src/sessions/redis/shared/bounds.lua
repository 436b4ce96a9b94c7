-- Shared: bounds on the streams of callbacks. The state of the partition counts the dropped entries: in the field
-- `lost` for the receiver of CALLBACK_URL, and in `lost:RECEIVER` for each other receiver, whose streams end in
-- `:RECEIVER`.

-- Drops the oldest entries beyond `most`. An error here does not fail the step, which is already done.
local function keep_within(stream, most)
  local length = redis.pcall('XLEN', stream)
  if type(length) ~= 'number' or length <= most then return end
  local field = 'lost' .. string.match(stream, ':[od](:?[^:]*)$')
  -- Count first, and correct the count if the entries could not be dropped.
  if type(redis.pcall('HINCRBY', state_key, field, length - most)) ~= 'number' then return end
  if type(redis.pcall('XTRIM', stream, 'MAXLEN', most)) ~= 'number' then
    redis.pcall('HINCRBY', state_key, field, most - length)
  end
end
