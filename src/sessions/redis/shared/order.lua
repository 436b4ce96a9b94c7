-- Shared: the order of records, by last activity, oldest first, and then by id. Ids are compared by bytes, because the
-- `<` of Lua depends on the locale of the server.
local function longer_silent(a, b)
  if a.active ~= b.active then return a.active < b.active end
  for i = 1, math.min(#a.id, #b.id) do
    local x, y = string.byte(a.id, i), string.byte(b.id, i)
    if x ~= y then return x < y end
  end
  return #a.id < #b.id
end
