-- The next expected sequences.
--
-- ARGV: time; then for each bucket the number of elements.
-- KEYS: for each bucket s f m r q g h, and of each element a w p.
-- Returns a sequence or '' for each element.
local out, key = {}, 0
for arg = 2, #ARGV do
  key = key + 7
  for _ = 1, tonumber(ARGV[arg]) do
    local state = call('HMGET', KEYS[key + 1], 'x', 'z')
    local ends = tonumber(state[2] or nil)
    out[#out + 1] = (not ends or ends > now) and state[1] or ''
    key = key + 3
  end
end
return out
