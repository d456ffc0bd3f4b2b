use proptest::prelude::*;

use super::*;

fn ticket(name: &str, seed: u8, peers: usize) -> Ticket {
    let peer = |n: usize| TicketPeer {
        peer: PeerId([n as u8; 32]),
        name: format!("peer {n}"),
        addresses: vec![SocketAddr::from(([192, 0, 2, n as u8], 7440))],
    };
    Ticket {
        volume: VolumeId([seed; 32]),
        volume_name: name.to_owned(),
        secret: Secret([seed; 16]),
        role: Role::Mirror,
        expires_ms: u64::from(seed) << 40,
        peers: (0..peers).map(peer).collect(),
    }
}

proptest! {
    #[test]
    fn a_ticket_reads_back_in_any_case_and_with_blanks_around(name in ".{0,40}", seed: u8, peers in 0usize..6) {
        let ticket = ticket(&name, seed, peers);
        let text = ticket.to_string();
        prop_assert!(text.starts_with("pfs1") && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()));
        prop_assert_eq!(text.parse(), Ok(ticket.clone()));
        prop_assert_eq!(format!(" {}\n", text.to_ascii_uppercase()).parse(), Ok(ticket));
    }

    #[test]
    fn one_wrong_character_is_always_noticed(at: prop::sample::Index, with in "[a-z2-7 0-9!]") {
        let text = ticket("docs", 7, 2).to_string();
        let at = 4 + at.index(text.len() - 4);
        let mut wrong = text.clone();
        wrong.replace_range(at..=at, &with);
        prop_assume!(wrong != text);
        prop_assert!(matches!(wrong.parse::<Ticket>(), Err(TicketError::Mistyped | TicketError::Truncated)));
    }

    #[test]
    fn a_ticket_cut_anywhere_is_called_cut(at: prop::sample::Index) {
        let text = ticket("docs", 7, 2).to_string();
        let at = 4 + at.index(text.len() - 4);
        prop_assert_eq!(text[..at].parse::<Ticket>(), Err(TicketError::Truncated));
    }

    #[test]
    fn no_text_makes_it_panic(text in ".{0,100}", digits in "pfs1[a-z2-7]{0,100}") {
        let _ = text.parse::<Ticket>();
        let _ = digits.parse::<Ticket>();
    }
}

#[test]
fn other_words_and_newer_tickets_say_so() {
    assert_eq!("https://example.org".parse::<Ticket>(), Err(TicketError::Foreign));
    let mut bytes = vec![2, 0, 1, 99];
    bytes.extend_from_slice(&check_of(&bytes));
    let newer = format!("pfs1{}", BASE32_NOPAD.encode(&bytes));
    assert_eq!(newer.parse::<Ticket>(), Err(TicketError::Newer(2)));
}
