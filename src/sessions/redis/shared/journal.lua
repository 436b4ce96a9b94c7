-- Shared: several writes as one step. Redis does not roll back a script that fails half-way, so each write notes the
-- command that takes it back, and `atomically` runs those in reverse order when a write fails. The failure then goes on to
-- the caller. What needs no inverse (a lower bound in an index, the last write of a step) calls redis.call as usual.
local undo = {}

local function write(inverse, ...)
  local reply = redis.call(...)
  undo[#undo + 1] = inverse
  return reply
end

local function count(field, by)
  if by ~= 0 then write({ 'HINCRBY', state_key, field, -by }, 'HINCRBY', state_key, field, by) end
end

local function add_to_stream(stream, ...)
  local id = redis.call('XADD', stream, '*', ...)
  undo[#undo + 1] = { 'XDEL', stream, id }
  return id
end

local function atomically(steps)
  local done, failure = pcall(steps)
  if done then return end
  for i = #undo, 1, -1 do redis.pcall(unpack(undo[i])) end
  error(failure, 0)
end
