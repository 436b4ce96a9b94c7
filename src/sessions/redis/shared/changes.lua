-- Shared by the scripts that change the sessions of a user.

-- Writes these records in place of `value`. It must be the last write of its step, because it has no inverse.
local function save_records(user, records, subject, value)
  if #records == 0 then
    redis.call('HDEL', records_key, user)
  else
    redis.call('HSET', records_key, user, encode(records, subject, value))
  end
end

local function find(records, id)
  for i, record in ipairs(records) do
    if record.id == id then return record, i end
  end
end

local function next_version(version)
  return version >= 65535 and 1 or version + 1
end
