-- Sequences are strings of 20 digits: the numbers of Lua are doubles, which end at 2^53.
local LAST = '18446744073709551615'

-- The sequence after one.
local function after(sequence)
  local low = tonumber(sub(sequence, 6)) + 1
  if low < 1e15 then
    return sub(sequence, 1, 5) .. string.format('%015.0f', low)
  end
  return string.format('%05d', tonumber(sub(sequence, 1, 5)) + 1) .. '000000000000000'
end

-- Ranges of skipped sequences, two sequences each, the last sixteen of them: add one.
local SKIPPED = 16 * 40
local function skipped(ranges, first, last)
  return sub((ranges or '') .. first .. last, -SKIPPED)
end
