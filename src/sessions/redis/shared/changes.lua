-- Shared by the scripts that change the sessions of a user.

-- Writes these records in place of `value`, within `atomically`.
local function save_records(user, records, subject, value)
  local inverse = value and { 'HSET', records_key, user, value } or { 'HDEL', records_key, user }
  if #records == 0 then
    write(inverse, 'HDEL', records_key, user)
  else
    write(inverse, 'HSET', records_key, user, encode(records, subject, value))
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
