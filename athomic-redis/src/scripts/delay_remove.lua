-- delay_remove
-- Messages that were published. ARGV: time, token, names. Returns 1 for each that was the token's.
local out = {}
for arg = 3, #ARGV do
  local name = ARGV[arg]
  local held = is_of(ARGV[2], name)
  if held then
    call('ZREM', turns, name)
    call('HDEL', frames, name)
    call('HDEL', tokens, name)
  end
  out[#out + 1] = held and 1 or 0
end
return out
