-- Locks that are asked for.
--
-- ARGV: time, how long they last, tokens. KEYS: one for each token.
-- Returns for each -1 if it is held now, -2 if the message was handled, else for how many milliseconds it is
-- another's.
local timeout, out = tonumber(ARGV[2]), {}
for index, key in ipairs(KEYS) do
  local token = ARGV[index + 2]
  local kind, holder, ends = look(key)
  if kind == 'D' then
    out[index] = -2
  elseif kind and holder ~= token then
    out[index] = ends - now
  else
    put(key, 'L', token, timeout)
    out[index] = -1
  end
end
return out
