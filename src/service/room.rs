//! Who is in the room, by name and in the order they joined.
//!
//! Owns the names. Never speaks to anybody and knows no rule of the chat. The list of names is kept rendered, since
//! every join is answered with it: a join appends to it, a leave makes it stale.
//!
//! Invariant: a connection is in `seats` if and only if its name is in `names` and its id in `order`.

use std::collections::HashMap;
use std::rc::Rc;

use crate::api::ConnId;

/// The joined users.
#[derive(Default)]
pub struct Room {
    /// By the connection's index.
    seats: Vec<Option<Box<Seat>>>,
    names: HashMap<Rc<str>, ConnId>,
    /// By join; a place that was left is empty until the next clean-up.
    order: Vec<Option<ConnId>>,
    /// `"Bob","Alice"`: the names as JSON, in join order.
    rendered: String,
    stale: bool,
}

struct Seat {
    name: Rc<str>,
    place: u32,
}

impl Room {
    /// Users in it.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether nobody is.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The name under which a connection has joined.
    pub fn name_of(&self, conn: ConnId) -> Option<&Rc<str>> {
        let seat = self.seats.get(conn.index())?.as_ref()?;
        (self.order[seat.place as usize] == Some(conn)).then_some(&seat.name)
    }

    /// Who has a name.
    pub fn holder(&self, name: &str) -> Option<ConnId> {
        self.names.get(name).copied()
    }

    /// Gives a connection that has not joined a name that nobody has.
    pub fn join(&mut self, conn: ConnId, name: &str) {
        let name: Rc<str> = name.into();
        let before = self.names.insert(Rc::clone(&name), conn);
        assert!(before.is_none(), "two users of one name");
        if !self.stale {
            append(&mut self.rendered, &name);
        }
        if self.seats.len() <= conn.index() {
            self.seats.resize_with(conn.index() + 1, || None);
        }
        let place = self.order.len() as u32;
        self.order.push(Some(conn));
        self.seats[conn.index()] = Some(Box::new(Seat { name, place }));
    }

    /// Takes a connection out; its name, if it had joined.
    pub fn leave(&mut self, conn: ConnId) -> Option<Rc<str>> {
        self.name_of(conn)?;
        let seat = self.seats[conn.index()].take()?;
        self.names.remove(&seat.name);
        self.order[seat.place as usize] = None;
        self.stale = true;
        if self.order.len() > 2 * self.names.len() + 16 {
            self.close_gaps();
        }
        Some(seat.name)
    }

    /// The users in join order.
    pub fn users(&self) -> impl Iterator<Item = (ConnId, &str)> {
        self.order.iter().flatten().filter_map(|conn| {
            let seat = self.seats[conn.index()].as_ref()?;
            Some((*conn, &*seat.name))
        })
    }

    /// The names in join order, as the inside of a JSON array.
    pub fn names_json(&mut self) -> &str {
        if std::mem::take(&mut self.stale) {
            let mut rendered = std::mem::take(&mut self.rendered);
            rendered.clear();
            for (_, name) in self.users() {
                append(&mut rendered, name);
            }
            rendered.shrink_to(2 * rendered.len());
            self.rendered = rendered;
        }
        &self.rendered
    }

    /// Whether the invariant holds.
    pub fn is_sound(&self) -> bool {
        let is_seated = |(place, conn): (usize, ConnId)| {
            let seat = self.seats.get(conn.index()).and_then(Option::as_ref);
            seat.is_some_and(|seat| {
                seat.place as usize == place && self.names.get(&seat.name).copied() == Some(conn)
            })
        };
        let joined = self.order.iter().enumerate().filter_map(|(place, conn)| Some((place, (*conn)?)));
        joined.clone().all(is_seated)
            && joined.count() == self.names.len()
            && self.seats.iter().flatten().count() == self.names.len()
    }

    fn close_gaps(&mut self) {
        self.order.retain(Option::is_some);
        self.order.shrink_to(2 * self.order.len());
        for (place, conn) in self.order.iter().flatten().enumerate() {
            if let Some(seat) = &mut self.seats[conn.index()] {
                seat.place = place as u32;
            }
        }
    }
}

fn append(rendered: &mut String, name: &str) {
    if !rendered.is_empty() {
        rendered.push(',');
    }
    rendered.push_str(&serde_json::to_string(name).expect("a string can be written as JSON"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_old_id_of_a_reused_slot_is_nobody() {
        let mut room = Room::default();
        room.join(ConnId::new(0, 1), "new");
        assert_eq!(room.name_of(ConnId::new(0, 0)), None);
        assert_eq!(room.leave(ConnId::new(0, 0)), None);
        assert_eq!(room.holder("new"), Some(ConnId::new(0, 1)));
    }

    proptest! {
        /// Against a plain list of names.
        #[test]
        fn agrees_with_a_list(steps in prop::collection::vec((0u32..40, any::<bool>()), 1..300)) {
            let (mut room, mut list) = (Room::default(), Vec::<(u32, String)>::new());
            for (index, look) in steps {
                let conn = ConnId::new(index, 7);
                let name = format!("n\"{index}");
                match list.iter().position(|(n, _)| *n == index) {
                    Some(at) => {
                        let left = list.remove(at).1;
                        prop_assert_eq!(room.leave(conn), Some(Rc::from(left)));
                    }
                    None => {
                        prop_assert_eq!(room.leave(conn), None);
                        room.join(conn, &name);
                        list.push((index, name.clone()));
                    }
                }
                prop_assert_eq!(room.len(), list.len());
                prop_assert_eq!(room.holder(&name).is_some(), list.iter().any(|(n, _)| *n == index));
                let users: Vec<_> = room.users().map(|(_, name)| name.to_owned()).collect();
                prop_assert_eq!(&users, &list.iter().map(|(_, name)| name.clone()).collect::<Vec<_>>());
                if look {
                    let parsed: Vec<String> = serde_json::from_str(&format!("[{}]", room.names_json())).unwrap();
                    prop_assert_eq!(parsed, users);
                }
            }
        }
    }
}
