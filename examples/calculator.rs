//! A server of your own in under sixty lines: three methods with a state of their own, in both dialects.
//!
//!     cargo run --example calculator
//!     printf '%s\n' '{"method":"add","params":{"a":1,"b":2}}' | nc -N 127.0.0.1 65440
//!     printf '%s\n' '{"jsonrpc":"2.0","method":"divide","params":[1,0],"id":1}' | nc -N 127.0.0.1 65440

use rawline::{Call, Effects, Fault, Limits, Param, Reply, Route, Server, Service, Wire};
use serde::Serialize;

#[derive(Default)]
struct Calculator {
    calculations: u64,
}

const OPERANDS: &[Param] = &[Param::number("a"), Param::number("b")];

impl Service for Calculator {
    const ROUTES: &'static [Route<Self>] = &[
        Route::new("add", OPERANDS, add),
        Route::new("divide", OPERANDS, divide),
        Route::new("count", &[], count),
    ];
}

#[derive(Serialize)]
struct Outcome {
    value: f64,
}

fn add(calculator: &mut Calculator, call: Call<'_>, fx: &mut Effects) -> Result<Reply, Fault> {
    calculator.calculations += 1;
    fx.reply(&Outcome { value: call.arg::<f64>(0)? + call.arg::<f64>(1)? })
}

fn divide(calculator: &mut Calculator, call: Call<'_>, fx: &mut Effects) -> Result<Reply, Fault> {
    let (a, b): (f64, f64) = (call.arg(0)?, call.arg(1)?);
    if b == 0.0 {
        return Err(Fault::rule(-32050, "Division by zero"));
    }
    calculator.calculations += 1;
    fx.reply(&Outcome { value: a / b })
}

fn count(calculator: &mut Calculator, _: Call<'_>, fx: &mut Effects) -> Result<Reply, Fault> {
    fx.reply(&calculator.calculations)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:65440".into());
    let mut server = Server::new(Limits::default())?;
    println!("listening {}", server.listen(Wire::JsonRpc, address)?);
    server.catch_signals()?;
    server.run(Calculator::default())?;
    Ok(())
}
