//! Walks over a datum before it is decoded, and makes nothing of it: so no length, count or depth that the bytes only
//! claim is believed.
//!
//! A list of nulls takes no bytes for its items, however many they are; such values have a budget, which goes with the
//! size of the datum.

use apache_avro::Schema;
use apache_avro::schema::{InnerDecimalSchema, NamesRef, UuidSchema};

use super::Fault;
use crate::payload::format::MAX_DEPTH;

/// How many values may take no bytes of their own, beside as many as there are bytes.
const EMPTY_VALUES: usize = 65_536;

const ENDS: &str = "it ends too early";

/// Check that a datum is one value of the schema, with nothing behind it.
pub(super) fn check(schema: &Schema, names: &NamesRef<'_>, datum: &[u8]) -> Result<(), Fault> {
    let mut walk = Walk {
        names,
        rest: datum,
        budget: datum.len() + EMPTY_VALUES,
    };
    walk.value(schema, 0)?;
    if walk.rest.is_empty() {
        return Ok(());
    }
    Err(format!("{} bytes are left over after the value", walk.rest.len()).into())
}

struct Walk<'a> {
    names: &'a NamesRef<'a>,
    rest: &'a [u8],
    budget: usize,
}

impl Walk<'_> {
    fn value(&mut self, schema: &Schema, depth: usize) -> Result<(), Fault> {
        if depth > MAX_DEPTH {
            return Err(format!("it is nested deeper than {MAX_DEPTH}").into());
        }
        let before = self.rest.len();
        self.parts(schema, depth)?;
        if self.rest.len() == before {
            self.budget = (self.budget.checked_sub(1)).ok_or("it has too many values that take no bytes")?;
        }
        Ok(())
    }

    fn parts(&mut self, schema: &Schema, depth: usize) -> Result<(), Fault> {
        match schema {
            Schema::Null => Ok(()),
            Schema::Boolean => self.skip(1),
            Schema::Float => self.skip(4),
            Schema::Double => self.skip(8),
            Schema::Fixed(fixed) | Schema::Duration(fixed) | Schema::Uuid(UuidSchema::Fixed(fixed)) => {
                self.skip(fixed.size)
            }
            Schema::Decimal(decimal) => match &decimal.inner {
                InnerDecimalSchema::Bytes => self.bytes(),
                InnerDecimalSchema::Fixed(fixed) => self.skip(fixed.size),
            },
            Schema::Bytes
            | Schema::String
            | Schema::BigDecimal
            | Schema::Uuid(UuidSchema::Bytes | UuidSchema::String) => self.bytes(),
            Schema::Array(array) => self.blocks(|walk| walk.value(&array.items, depth + 1)),
            Schema::Map(map) => self.blocks(|walk| {
                walk.bytes()?;
                walk.value(&map.types, depth + 1)
            }),
            Schema::Union(union) => {
                let place = usize::try_from(self.number()?).ok();
                let variant = place.and_then(|place| union.variants().get(place));
                self.value(variant.ok_or("a union has no such variant")?, depth)
            }
            Schema::Record(record) => {
                let mut fields = record.fields.iter();
                fields.try_for_each(|field| self.value(&field.schema, depth + 1))
            }
            Schema::Ref { name } => {
                let named = self
                    .names
                    .get(name)
                    .ok_or("its schema names a type that it lacks")?;
                self.value(named, depth)
            }
            // All others are numbers of variable length.
            _ => self.number().map(|_| ()),
        }
    }

    fn skip(&mut self, bytes: usize) -> Result<(), Fault> {
        self.rest = self.rest.get(bytes..).ok_or(ENDS)?;
        Ok(())
    }

    fn bytes(&mut self) -> Result<(), Fault> {
        let length = usize::try_from(self.number()?).map_err(|_| "a length is negative")?;
        self.skip(length)
    }

    /// Walk over the blocks of an array or a map; a count below zero is followed by the block's size.
    fn blocks(&mut self, mut item: impl FnMut(&mut Self) -> Result<(), Fault>) -> Result<(), Fault> {
        loop {
            let count = self.number()?;
            if count == 0 {
                return Ok(());
            }
            if count < 0 {
                self.number()?;
            }
            for _ in 0..count.unsigned_abs() {
                item(self)?;
            }
        }
    }

    /// Read a zigzag number of at most ten bytes.
    fn number(&mut self) -> Result<i64, Fault> {
        let mut number = 0_u64;
        for shift in (0..70).step_by(7) {
            let (byte, rest) = self.rest.split_first().ok_or(ENDS)?;
            self.rest = rest;
            number |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or_default();
            if byte & 0x80 == 0 {
                let half = i64::try_from(number >> 1).unwrap_or_default();
                return Ok(if number & 1 == 0 { half } else { !half });
            }
        }
        Err("a number is longer than ten bytes".into())
    }
}
