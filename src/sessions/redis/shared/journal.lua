-- Shared: makes several writes one atomic step. Redis does not roll back a script that fails half-way. Therefore each
-- write registers its inverse command. When a write fails, `atomically` runs the inverse commands in reverse order and
-- raises the error again. Writes that need no inverse (a lower bound in an index, the last write of a step) use
-- redis.call directly.
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
