//! Pickles of Python, protocols 2 to 5, as far as published tables use them: plain values,
//! `collections.OrderedDict`, and numbers of NumPy. Nothing is imported and nothing is run: every
//! other object is opaque.

use std::{cell::RefCell, collections::HashMap, rc::Rc};

/// A value. Containers are shared, as in Python.
#[derive(Debug, Clone)]
pub enum Value {
    /// `None`.
    Nothing,
    /// An integer of up to 64 bits.
    Integer(i64),
    /// A float.
    Float(f64),
    /// A string.
    Text(Rc<str>),
    /// Bytes.
    Bytes(Rc<[u8]>),
    /// A list, tuple or set.
    List(Rc<RefCell<Vec<Value>>>),
    /// A dictionary, ordered or not.
    Mapping(Rc<RefCell<Vec<(Value, Value)>>>),
    /// A class or function by name.
    Name(Rc<str>),
    /// What a call gave whose function is not known, or what no table has a use for.
    Opaque,
}

impl Value {
    /// A number as a float.
    pub fn number(&self) -> Option<f64> {
        match self {
            Value::Integer(number) => Some(*number as f64),
            Value::Float(number) => Some(*number),
            _ => None,
        }
    }

    /// A text.
    pub fn text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The values of a list.
    pub fn values(&self) -> Vec<Value> {
        match self {
            Value::List(values) => values.borrow().clone(),
            _ => Vec::new(),
        }
    }

    /// The entries of a mapping.
    pub fn entries(&self) -> Vec<(Value, Value)> {
        match self {
            Value::Mapping(entries) => entries.borrow().clone(),
            _ => Vec::new(),
        }
    }

    /// What a mapping has under a text.
    pub fn get(&self, key: &str) -> Option<Value> {
        let Value::Mapping(entries) = self else { return None };
        entries.borrow().iter().find(|(known, _)| known.text() == Some(key)).map(|(_, value)| value.clone())
    }

    fn list(values: Vec<Value>) -> Value {
        Value::List(Rc::new(RefCell::new(values)))
    }

    fn mapping(entries: Vec<(Value, Value)>) -> Value {
        Value::Mapping(Rc::new(RefCell::new(entries)))
    }
}

/// Reads the first pickle of some bytes.
///
/// # Errors
///
/// What is no pickle, ends too early, or uses what is not known here, with the byte.
pub fn read(bytes: &[u8]) -> Result<Value, String> {
    let mut machine = Machine { bytes, at: 0, stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() };
    machine.run().map_err(|why| format!("byte {}: {why}", machine.at))
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Value>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u64, Value>,
}

impl<'a> Machine<'a> {
    fn run(&mut self) -> Result<Value, String> {
        loop {
            match self.unsigned(1)? as u8 {
                // PROTO, FRAME
                0x80 => drop(self.take(1)?),
                0x95 => drop(self.take(8)?),
                b'.' => return self.pop(),
                b'N' => self.stack.push(Value::Nothing),
                // True, False
                0x88 | 0x89 => self.stack.push(Value::Opaque),
                b'J' => {
                    let number = self.unsigned(4)? as u32;
                    self.stack.push(Value::Integer(i64::from(number.cast_signed())));
                }
                b'K' => self.push_integer(1)?,
                b'M' => self.push_integer(2)?,
                0x8a => self.push_long()?,
                b'G' => {
                    let bytes = self.take(8)?;
                    let bits = bytes.iter().fold(0, |bits, byte| bits << 8 | u64::from(*byte));
                    self.stack.push(Value::Float(f64::from_bits(bits)));
                }
                0x8c => self.push_text(1)?,
                b'X' => self.push_text(4)?,
                0x8d => self.push_text(8)?,
                b'C' => self.push_bytes(1)?,
                b'B' => self.push_bytes(4)?,
                0x8e => self.push_bytes(8)?,
                b'U' => self.push_bytes(1)?,
                b'T' => self.push_bytes(4)?,
                b']' | b')' | 0x8f => self.stack.push(Value::list(Vec::new())),
                b'}' => self.stack.push(Value::mapping(Vec::new())),
                b'(' => self.marks.push(self.stack.len()),
                b't' | b'l' | 0x91 => {
                    let values = self.pop_mark()?;
                    self.stack.push(Value::list(values));
                }
                b'd' => {
                    let entries = pairs(self.pop_mark()?)?;
                    self.stack.push(Value::mapping(entries));
                }
                count @ 0x85..=0x87 => {
                    let from = self.stack.len().checked_sub(usize::from(count - 0x84)).ok_or("the stack is empty")?;
                    let values = self.stack.split_off(from);
                    self.stack.push(Value::list(values));
                }
                b'a' => {
                    let value = self.pop()?;
                    self.append(vec![value])?;
                }
                b'e' | 0x90 => {
                    let values = self.pop_mark()?;
                    self.append(values)?;
                }
                b's' => {
                    let (value, key) = (self.pop()?, self.pop()?);
                    self.set(vec![(key, value)])?;
                }
                b'u' => {
                    let entries = pairs(self.pop_mark()?)?;
                    self.set(entries)?;
                }
                0x94 => {
                    let place = self.memo.len() as u64;
                    self.remember(place)?;
                }
                b'q' => {
                    let place = self.unsigned(1)?;
                    self.remember(place)?;
                }
                b'r' => {
                    let place = self.unsigned(4)?;
                    self.remember(place)?;
                }
                b'h' => self.recall(1)?,
                b'j' => self.recall(4)?,
                b'0' => drop(self.pop()?),
                0x93 => {
                    let (name, module) = (self.pop()?, self.pop()?);
                    let part = |value: &Value| value.text().map(str::to_owned).ok_or("a name that is no text");
                    self.stack.push(Value::Name(format!("{}.{}", part(&module)?, part(&name)?).into()));
                }
                b'c' => {
                    let name = format!("{}.{}", self.line()?, self.line()?);
                    self.stack.push(Value::Name(name.into()));
                }
                // REDUCE, NEWOBJ
                b'R' | 0x81 => {
                    let (arguments, function) = (self.pop()?, self.pop()?);
                    self.stack.push(call(&function, &arguments.values()));
                }
                // BUILD: the state of an object that is opaque.
                b'b' => drop(self.pop()?),
                other => return Err(format!("the opcode 0x{other:02x} is not known")),
            }
        }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or("the pickle ends too early")?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    /// An unsigned number, the lowest byte first.
    fn unsigned(&mut self, bytes: usize) -> Result<u64, String> {
        Ok(self.take(bytes)?.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn line(&mut self) -> Result<String, String> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|byte| *byte == b'\n').ok_or("a line without an end")?;
        let line = String::from_utf8_lossy(self.take(end + 1)?).trim_end().to_owned();
        Ok(line)
    }

    fn pop(&mut self) -> Result<Value, String> {
        self.stack.pop().ok_or_else(|| "the stack is empty".to_owned())
    }

    fn pop_mark(&mut self) -> Result<Vec<Value>, String> {
        let mark = self.marks.pop().filter(|mark| *mark <= self.stack.len()).ok_or("there is no mark")?;
        Ok(self.stack.split_off(mark))
    }

    fn push_integer(&mut self, bytes: usize) -> Result<(), String> {
        let number = self.unsigned(bytes)?;
        self.stack.push(Value::Integer(number as i64));
        Ok(())
    }

    /// LONG1: the lowest byte first, with a sign.
    fn push_long(&mut self) -> Result<(), String> {
        let count = self.unsigned(1)? as usize;
        if count > 8 {
            return Err(format!("an integer of {count} bytes"));
        }
        let number = self.unsigned(count)?;
        let above = 64 - 8 * count as u32;
        let number = if count == 0 { 0 } else { (number << above).cast_signed() >> above };
        self.stack.push(Value::Integer(number));
        Ok(())
    }

    fn sized(&mut self, bytes: usize) -> Result<&'a [u8], String> {
        let count = self.unsigned(bytes)?;
        self.take(usize::try_from(count).map_err(|_| "a length beyond memory")?)
    }

    fn push_text(&mut self, bytes: usize) -> Result<(), String> {
        let text = std::str::from_utf8(self.sized(bytes)?).map_err(|error| error.to_string())?;
        self.stack.push(Value::Text(text.into()));
        Ok(())
    }

    fn push_bytes(&mut self, bytes: usize) -> Result<(), String> {
        let bytes = self.sized(bytes)?;
        self.stack.push(Value::Bytes(bytes.into()));
        Ok(())
    }

    fn append(&mut self, values: Vec<Value>) -> Result<(), String> {
        match self.stack.last() {
            Some(Value::List(list)) => list.borrow_mut().extend(values),
            Some(Value::Opaque) => {}
            _ => return Err("values for what is no list".to_owned()),
        }
        Ok(())
    }

    fn set(&mut self, entries: Vec<(Value, Value)>) -> Result<(), String> {
        match self.stack.last() {
            Some(Value::Mapping(mapping)) => mapping.borrow_mut().extend(entries),
            Some(Value::Opaque) => {}
            _ => return Err("entries for what is no dictionary".to_owned()),
        }
        Ok(())
    }

    fn remember(&mut self, place: u64) -> Result<(), String> {
        let top = self.stack.last().ok_or("the stack is empty")?.clone();
        self.memo.insert(place, top);
        Ok(())
    }

    fn recall(&mut self, bytes: usize) -> Result<(), String> {
        let place = self.unsigned(bytes)?;
        let value = self.memo.get(&place).ok_or_else(|| format!("nothing is remembered as {place}"))?.clone();
        self.stack.push(value);
        Ok(())
    }
}

fn pairs(values: Vec<Value>) -> Result<Vec<(Value, Value)>, String> {
    if values.len() % 2 == 1 {
        return Err("a key without a value".to_owned());
    }
    let mut values = values.into_iter();
    Ok(std::iter::from_fn(|| Some((values.next()?, values.next()?))).collect())
}

/// What a function makes of its arguments.
fn call(function: &Value, arguments: &[Value]) -> Value {
    let Value::Name(name) = function else { return Value::Opaque };
    let first = arguments.first();
    match &**name {
        "collections.OrderedDict" => {
            let entries = first.map(Value::values).unwrap_or_default();
            let entry = |entry: &Value| match entry.values().as_slice() {
                [key, value] => Some((key.clone(), value.clone())),
                _ => None,
            };
            Value::mapping(entries.iter().filter_map(entry).collect())
        }
        "builtins.set" | "__builtin__.set" | "builtins.frozenset" => {
            Value::list(first.map(Value::values).unwrap_or_default())
        }
        // A type is known by its letters, such as f8.
        "numpy.dtype" => first.cloned().unwrap_or(Value::Opaque),
        "numpy.core.multiarray.scalar" | "numpy._core.multiarray.scalar" => match arguments {
            [Value::Text(kind), Value::Bytes(bytes)] => scalar(kind, bytes),
            _ => Value::Opaque,
        },
        _ => Value::Opaque,
    }
}

fn scalar(kind: &str, bytes: &[u8]) -> Value {
    let bits = bytes.iter().rev().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
    match (kind, bytes.len()) {
        ("f8", 8) => Value::Float(f64::from_bits(bits)),
        ("f4", 4) => Value::Float(f64::from(f32::from_bits(bits as u32))),
        ("i8", 8) => Value::Integer(bits.cast_signed()),
        ("i4", 4) => Value::Integer(i64::from((bits as u32).cast_signed())),
        _ => Value::Opaque,
    }
}
