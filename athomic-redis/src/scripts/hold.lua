-- Locks that are renewed, or turned into marks.
--
-- ARGV: time, `L` or `D`, how long it lasts, tokens. KEYS: one for each token.
-- Returns for each 1 if it was held or is done already, 2 if nothing was there, 0 if it is another's.
local target, duration, out = ARGV[2], tonumber(ARGV[3]), {}
for index, key in ipairs(KEYS) do
  local token = ARGV[index + 3]
  local kind, holder = look(key)
  if kind and holder ~= token then
    out[index] = 0
  else
    -- A renewal that comes late does not take the mark back.
    if kind ~= 'D' then put(key, target, token, duration) end
    out[index] = kind and 1 or 2
  end
end
return out
