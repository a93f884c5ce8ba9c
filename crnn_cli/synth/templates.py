"""Numbers, dates, prices, codes, addresses of the net and names, by pattern, as print and signs show them.

Each function draws one text; those that need words get them from the caller.
"""

from __future__ import annotations

import string
from collections.abc import Callable

import numpy as np

from crnn_cli.synth.corpus import pick

Random = np.random.Generator
Word = Callable[[Random], str]  # draws a word


def either(patterns: str) -> tuple[str, ...]:
    """The patterns that `|` parts."""
    return tuple(patterns.split("|"))


# In these patterns 0 stands for a digit, 9 for one from 1 to 9, A for a capital, ~ for a small letter.
_NUMBERS = either(
    "9|90|900|9000|90000|9,000|90,000|900,000|9,000,000|9.0|90.0|0.00|9.00|90.00|0.000|9.0000|-9|-90|-9.0|-0.00|+9.0|"
    "+90|00|000|0000|00000|9/9|90/900|9-9|90-90|9x9|90x90|(9)|(90)|[9]|[90]|9.|90.|9)|#9|#90|9*|9+|90+|9:9|9th|90th|"
    "9st|9nd|9rd|No.9|No.90|No. 9|No. 900|Nr. 90|9km|90km|90 km|9kg|900g|90mm|9.0mm|9cm|900ml|9.0L|90GB|900MB|90W|"
    "900V|90Hz|90Mb/s|9m|90ft|90s|900's|'90s|90/0|9x|90pcs|A9|A90|90A|9A|9~|9.9.9|9.0.00|v9.0|~=9|9=9|<9|>90|9e-0|9^0|"
    "_9|9&9|90,00|9.000,00|9 000|90 000|Vol. 9|Fig. 9.0|Room 900|Page 90|pp. 90-900|Route 90|Exit 90|Size 9|{9}|9|90|"
    "0|900|9000"
)
_COUNTS = either(
    "9|9|90|90|900|900|9000|1900|2000|90000|0|00|000|0000|00000|900000|9.00|90.00|9,000|9.0"
)
_FIGURES = either(
    "9|90|900|9000|1900|1800|2000|9.0|9,000|90,000|90%|$90|[9]|[90]|(9)|(90)|9th|9)|No.9|9-9|90-90|9/9"
)
_PERCENTS = either(
    "9%|90%|90%|90%|9.0%|90.0%|0.00%|90.00%|-90%|+9.0%|100%|90 %|90% OFF|up to 90%|9-90%|90-90%|90%+|(90%)|<9%|>90%|"
    "90%!"
)
_PHONES = either(
    "(900) 900-0000|900-900-0000|+9 900 900 0000|+90 900 0000000|0900 000000|00 00 00 00 00|900-0000|900.900.0000|"
    "9800000000|Tel: 900-0000|Tel. 090 000 00 00|+90-9-0000-0000|9-800-900-0000|(09) 0000 0000|Fax: 900-900-0000|"
    "T 900 900 0000|Ph: (00) 9000 0000|+90 (0)900 0000000|09-00000000|Call 900-0000|900 000 000|9800 000 000|"
    "ext. 9000|090/0000000|*900#"
)
_CODES = either(
    "AA-0000|AAA-000|A000000|AA000000A|0000-0000-0000|AAAA0000|0A0A0A|A00-AA0|SN: 000000000|S/N AA00A0000|No: 000000|"
    "AA/00/0000|000-00-0000|AAA.000.00|A-00|00A|A00|AA00|AA 00000|REF: AA000000|~~~-0000|#000000|ID 00000000|"
    "00000000000|00:0A:0A:A0:00:0A|A0A 0A0|AA00 0AA|00000-0000|INV-000000|0x0A0A|A000-00-0000|AA_0000|A0/A00|AAAAAAA|"
    "AAAAAA|Lot 0000A|000000-A|ISBN 000-0-00-000000-0|~0~0~~00|Model AA-000|[A-00]|<A000>|{~~00}|AA\\00|A0|00-00-00|"
    "0000 0000 0000 0000|A.A.0.00"
)
_PLATES = either(
    "AAA 000|AAA-0000|AA-00-00|00-AA-00|AA00 AAA|0AAA000|A 000 AA|A-AA 0000|AA 000 AA|AAA 0000|0000 AAA|A000AA|"
    "AA-000-AA|00 AAA 00|AAA000|A 0000 A|AA AA 000|000-AAA|0-AAA-000|A·00000"
)
_AMOUNTS = either(
    "9.00|90.00|900.00|9,000.00|90,000.00|9|90|900|9,000|0.00|9.90|90.90|9.99|90.99|9,00|90,00|9.000,00|9 000,00|9.000"
)

# These have fields, which the functions that use them fill.
_PRICES = either(
    "${}|${}|${}|${}|$ {}|US${}|USD {}|{} USD|€{}|{} €|EUR {}|{} EUR|£{}|£ {}|GBP {}|¥{}|RM {}|RM{}|Rs. {}|Rs {}/-|"
    "{}$|-{}|${}/lb|${} each|{}/kg|only ${}|@ ${}|CHF {}|{} kr|-${}|(${})|${}*|${}+|${}.-|{}c|2/${}|*{}|{}-|{}|{}|{}|"
    "{}"
)
_DATES = either(
    "{d}/{m}/{y}|{d:02}/{m:02}/{y}|{m:02}/{d:02}/{y}|{m}/{d}/{y2}|{d}.{m}.{y}|{d:02}.{m:02}.{y2}|{y}-{m:02}-{d:02}|"
    "{d:02}-{m:02}-{y}|{d} {month} {y}|{month} {d}, {y}|{mon} {d}, {y}|{mon}. {d}, {y}|{d}-{mon}-{y2}|"
    "{d:02} {mon} {y}|{month} {y}|{month} {d}|{d} {month}|{d}. {month} {y}|{weekday}, {d} {month}|"
    "{weekday}, {month} {d}, {y}|{day} {d} {mon}|{mon} '{y2}|{y}|{y}|{y}-{y2}|{d}th {month}|{month} {d}th, {y}|"
    "{day}, {mon} {d}|{y}/{m:02}/{d:02}|{m}/{y}|{weekday}|{month}|{day}.|{mon}.|(c) {y}|'{y2}|Est. {y}|Since {y}|"
    "{y} - {e}|{d:02}/{m:02}/{y2} {h:02}:{s:02}|{d:02}{m:02}{y}|{y}-{m:02}-{d:02} {h:02}:{s:02}:{t:02}"
)
_TIMES = either(
    "{h}:{s:02}|{h:02}:{s:02}|{h:02}:{s:02}:{t:02}|{k}:{s:02} PM|{k}:{s:02} AM|{k}:{s:02}pm|{k}:{s:02}am|{k} a.m.|"
    "{k} p.m.|{k}am|{k}pm|{h:02}.{s:02}|{h:02}h{s:02}|{h:02}:{s:02} - {h:02}:{t:02}|{k}am-{d}pm|{k}:00-{k}:30|"
    "{h:02}:{s:02} h|{s} min|{s}:{t:02}|{s}'{t:02}\"|{h}h {s}m|24h|24/7|{k} o'clock|{h:02}{s:02} hrs|"
    "{s:02}:{t:02}.{d:02}|{h:02}:{s:02}Z"
)
_USERS = either("{w}|{w}.{v}|{w}{n}|{w}_{v}|{i}.{w}|{i}{w}|{w}-{v}|{w}+{n}|info|sales|contact")
_HOSTS = either("{w}|{w}|{w}|{w}{v}|{w}-{v}|{i}{w}|{w}{n}|mail.{w}")
_URLS = either(
    "www.{host}|www.{host}|www.{host}|{host}|{host}|http://{host}|http://www.{host}|https://{host}|https://www.{host}|"
    "@{w}|#{w}|www.{host}/{w}|{host}/{w}|https://{host}/{w}/{v}|{host}/{w}.html|{host}/{w}?id={n}|{host}/{w}_{v}.pdf|"
    "{host}/~{w}|@{w}_{v}|{host}/{w}.php?p={n}&q={v}|http://{host}:{n}/|{host}/#{w}|{w}.{v}.{end}|{w}.txt|{w}{n}.jpg|"
    "C:\\{w}\\{v}.exe|/{w}/{v}/{n}"
)
_NAMES = either(
    "{w} {v}|{w} {v}|{w} {i}. {v}|{i}. {v}|{i}. {j}. {v}|{i}.{j}. {v}|{title} {v}|{title} {i}. {v}|{title} {w} {v}|"
    "{v}, {w}|{v}, {i}.|{v}, {i}.{j}.|{w} {v}{suffix}|{v}{suffix}|{w} & {v}|{v} et al.|{w}-{v}|{i}{j}|{i}.{j}.|Mc{w}|"
    "O'{w}|{w} de {v}|{w} and {v}|{w}'s"
)
_ENTRIES = either(
    "{label}: {value}|{label}: {value}|{label} {value}|{label} {value}|{label}:{value}|{label}:|{label} ({value})|"
    "{label} - {value}|{label} = {value}|{label} . . . {value}|{n} {label}|{n} x {label}|"
    "{n}. {label}|{n}) {label}|({n}) {label}|- {label}|* {label}|{value} {label}|{label} #{n}|{label} No. {n}|"
    "{label} @ {value}|[{label}] {value}|{label} ({other}):|{label} *|{label} / {other}|{label}, {value}|"
    "{n} {label} {value}|{label}; {value}|{label} [{n}]|<{label}> {value}"
)

# What receipts have on a row. The fields are those of `_Receipt`, each drawn anew wherever it stands.
_RECEIPTS = either(
    "{total}{colon}{money}|{total}{colon}{money}|{total}{colon}{amount}|{total} {money}|{total} ({rm}){colon}{amount}|"
    "{total}{end}|{total}{end}|{total}|{total} ({rm})|{total} ({rm}){end}|{total} ({tax}){colon}{amount}|"
    "{total} {tax}{end}|{total} {percent}|{count} ITEM(S)|NO. OF ITEMS{colon}{count}|TOTAL QTY{colon}{count}|"
    "{amount}|{amount}|{amount}|{amount}|{amount}|{amount}|{amount}|{money}|{money}|{money}|-{amount}|({amount})|"
    "{amount} {kind}|{amount} {kind}|{amount}{kind}|{amount} *|*{amount}|{amount}-|{fine}|{count}.00|{count}.0|"
    "{rm}|{rm} {rm}|{kind}|{kind} {percent}|{percent}|@ {percent}|{kind} = {percent}|{kind}: {percent}|({kind})|"
    "{kind} {amount} {amount}|{kind} {amount} {amount}|{tax} @{percent} {amount}|{tax} {percent}{colon}{amount}|"
    "{tax} ({percent})|{tax} {percent}|{kind} @ {percent} {amount} {amount}|{tax} SUMMARY|{tax} AMOUNT {rm}|"
    "{tax} CODE|{tax} ID{colon}{digits}|{tax} REG NO{colon}{digits}|{tax} NO{colon}{digits}|{tax}{end}|"
    "{count} x {amount}|{count} X {amount}|{count}X{amount}|{count} @ {amount}|{count} x {money}|{count} x {fine}|"
    "{count} {unit}|{count} {unit}|{count}{unit} x {amount}|{count} {unit} @ {amount}|QTY {count}|QTY{colon}{count}|"
    "{count}|{count}|{count}|{count} x|{count} PC|{weight}KG|{weight} KG x {amount}|{weight} kg @ {amount}/kg|"
    "{word}|{word}|{word}|{word}|{word} {amount}|{word} {amount}|{word} {amount} {kind}|{count} {word} {amount}|"
    "{count} {word}|{count} x {word}|{word} {size}|{word} {size}|{word} {size} {amount}|{item} {word}|{item} {word}|"
    "{word} ({size})|{kind}: {word}|{digits} {word}|{word} {count}'S|*{word}|#{word}|- {word}|{word} -{amount}|"
    "{item}|{item}|{item}|{digits}|{digits}|{digits}|{digits} {count}|{item} {amount}|{barcode}|{barcode}|{barcode}|"
    "{barcode} {amount}|{barcode} {count} {amount}|({registration})|CO. REG NO{colon}{registration}|"
    "REG NO{colon}{registration}|{word} SDN BHD ({registration})|{word} LTD.|{word} ENTERPRISE|{word} PTE LTD|"
    "{doc} NO{colon}{item}|{doc} NO{colon}{item}|{doc} #{colon}{item}|{doc} NO. {item}|{doc} #{digits}|{doc} NO{end}|"
    "{doc}|{doc}{end}|{doc}{colon}{item}|TAX INVOICE|** {doc} **|ORDER NO{colon}{count}|TABLE{colon}{count}|"
    "TABLE {count}|PAX{colon}{count}|QUEUE NO. {count}|TERMINAL{colon}{item}|TRACE NO{colon}{digits}|"
    "REF{colon}{digits}|BATCH{colon}{digits}|APPR CODE{colon}{digits}|TID: {digits}|MID: {digits}|POS {count}|"
    "CARD NO{colon}XXXX XXXX XXXX {last}|************{last}|{card} {last}|{card}|{card} {amount}|MEMBER{colon}{digits}|"
    "CASHIER{colon}{word}|CASHIER{colon}{count}|SERVED BY{colon}{word}|STAFF{colon}{item}|COUNTER{colon}{count}|"
    "SALESPERSON{colon}{item}|CUSTOMER{colon}{word}|USER{colon}{word}|SHIFT {count}|ATTN{colon}{word}|M/S{colon}{word}|"
    "DATE{colon}{date}|DATE{colon}{date}|DATE{colon}{date} {time}|DATE{colon}{date} TIME{colon}{time}|DATE{end}|"
    "TIME{colon}{time}|TIME{colon}{time}|TIME{end}|{date}|{date}|{date} {time}|{date} {time}|{time}|{date} - {time}|"
    "PRINTED{colon}{date} {time}|PRINT DATE{colon}{date}|{date} {time} {item}|DUE{colon}{date}|{day} {date}|"
    "TEL{colon}{phone}|TEL{colon}{phone}|TEL NO{colon}{phone}|TEL {phone}|FAX{colon}{phone}|PHONE{colon}{phone}|"
    "TEL{colon}{phone} FAX{colon}{phone}|HP{colon}{phone}|{phone}|H/P {phone}|T{colon}{phone}|TEL{end}|"
    "NO {count}, {road}|NO. {count}, {road},|NO.{count} & {count}, {road}|LOT {count}, {road}|{count}, {road},|"
    "{count}-{count}, {road}|{road}|{road},|{post} {word}|{post} {word}, {word}.|{post}, {word}|{word}, {post} {word}|"
    "UNIT {count}-{count}, {word}|LEVEL {count}, {word}|BLOCK {capital}, {word}|G-{count}, GROUND FLOOR|{word} BRANCH|"
    ": {amount}|: {money}|: {word}|: {date}|: {time}|: {count}|:{digits}|: {item}|: {phone}|{end}|"
    "THANK YOU|THANK YOU|THANK YOU!|*** THANK YOU ***|THANK YOU, PLEASE COME AGAIN|THANK YOU. PLEASE COME AGAIN.|"
    "PLEASE COME AGAIN|THANK YOU FOR SHOPPING WITH US|HAVE A NICE DAY|GOODS SOLD ARE NOT RETURNABLE|"
    "GOODS SOLD ARE NOT REFUNDABLE OR EXCHANGEABLE|NO REFUND. NO EXCHANGE.|KEEP THIS RECEIPT AS PROOF OF PURCHASE|"
    "EXCHANGE WITHIN {count} DAYS WITH RECEIPT|E. & O. E.|CUSTOMER COPY|MERCHANT COPY|DUPLICATE|*** REPRINT ***|"
    "WELCOME TO {word}|FOLLOW US ON {word}|COME AGAIN|THIS IS A COMPUTER GENERATED RECEIPT|NO SIGNATURE REQUIRED|"
    "***|****|** {word} **|---|----|---------------|=====|==========|================|....|********|{capital}{capital}|"
    "POINTS EARNED{colon}{count}|BALANCE POINTS{colon}{digits}|YOU SAVED {money}|PROMO -{amount}|DISC {percent}|"
    "DISCOUNT {percent} -{amount}|DESCRIPTION|ITEM|QTY|PRICE|AMOUNT|AMT|U.PRICE|UNIT PRICE|{head} {head}|"
    "{head} {head} {head}|{head} ({rm})|{head}({rm})|{head}{end}|PUMP {count}|{word} {weight} LITRE|{fine} / L"
)
_TOTALS = either(
    "TOTAL|TOTAL|TOTAL|SUBTOTAL|SUB TOTAL|SUB-TOTAL|GRAND TOTAL|NET TOTAL|NETT|TOTAL AMOUNT|TOTAL SALES|TOTAL DUE|"
    "AMOUNT DUE|AMOUNT|BALANCE|CASH|CASH|CHANGE|CHANGE|CHANGE DUE|ROUNDING|ROUNDING ADJ|ROUNDING ADJUSTMENT|ROUNDED|"
    "TENDERED|CASH TENDERED|PAID|PAYMENT|DISCOUNT|TOTAL DISCOUNT|TOTAL SAVINGS|SERVICE CHARGE|SVC CHG|DEPOSIT|TIP|"
    "TOTAL INCL. GST|TOTAL EXCL. TAX|TOTAL (INCLUSIVE OF GST)|TOTAL (EXCLUDING GST)|TAXABLE AMOUNT|VOUCHER|REFUND"
)
_TAXES = either("GST|GST|GST|TAX|TAX|VAT|SST|SALES TAX|SERVICE TAX|HST|MWST|TVA")
_TAX_KINDS = either("SR|SR|ZR|ZRL|S|Z|T|E|A|B|OS|TX|SR*")
_RATES = either("6%|6%|6%|0%|0%|6.00%|6.0%|0.00%|10%|7%|5%|8%|19%|20%|90%|9.0%|6 %")
_CURRENCIES = either("RM|RM|RM|RM|$|$|S$|US$|EUR|MYR|SGD|USD|GBP|Rs|THB|CHF|HK$")
_RECEIPT_AMOUNTS = either(
    "9.00|9.00|9.00|90.00|90.00|90.00|900.00|0.00|0.00|9,000.00|9.90|90.90|0.00|0.00|9.50|90,00"
)
_FINES = either("9.0000|0.000|9.000|90.000|0.0000|90.0000")
_UNITS = either("PCS|PCS|PC|UNIT|SET|BOX|PKT|BTL|CTN|EA|NOS|ROLL|DOZ|PACK|TIN|BAG")
_SIZES = either(
    '900ML|90ML|9L|9.0L|900G|90G|9KG|90CM|9MM|9 X 90|90S|9\'S|A4|9"X9"|9.0MM|9/9"|9KG/PKT|90X90'
)
_DOCUMENTS = either(
    "INVOICE|INVOICE|INV|RECEIPT|RECEIPT|RCPT|BILL|BILL|DOC|DOCUMENT|CHECK|CHIT|TICKET|ORDER|SLIP|TRANS|TXN|REF|"
    "TAX INVOICE"
)
_ITEMS = either(
    "A0000-00|AA00000000|AA-000000|000000|0000000|A00-000|AAA0000|A000000|0000-000000|00000|000-00000000|AA0000/00|"
    "CS00000000|A-00000|00/0000|AA000|00000000|INV-00000|0000|A0|#000000|0000A|00-0000-000"
)
_DIGITS = either(
    "000000|0000000|00000000|000000000000|0000000000|00000|0000|900|90000|000000000|000|0000000000000"
)
_BARCODES = either(
    "9500000000000|9550000000000|8800000000000|4000000000000|0000000000000|00000000|9780000000000|000000000000"
)
_REGISTRATIONS = either(
    "900000-A|900000-A|90000-A|9000000-A|000000000A|201900000000|900000-X|900000-V"
)
_RECEIPT_PHONES = either(
    "00-00000000|00-0000 0000|00-000 0000|000-0000000|000-000 0000|00-0000000|(00) 000-0000|+60 0-0000 0000|"
    "00 0000 0000|000 000 0000|0000-000000|00-00000000 / 00000000|+00 000 0000"
)
_ROADS = either(
    "JALAN {w}|JALAN {w} 0/00|JALAN {w} 0|JLN {w} 00|TAMAN {w}|{w} ROAD|{w} STREET|{w} AVENUE|LORONG {w} 0|{w} LANE|"
    "{w} PLAZA|BANDAR {w}|KAMPUNG {w}|{w} CENTRE|{w} INDUSTRIAL PARK|PUSAT {w}|PERSIARAN {w}|SECTION 00|{w} SQUARE"
)
_RECEIPT_DATES = either(
    "{d:02}/{m:02}/{y}|{d:02}/{m:02}/{y}|{d:02}-{m:02}-{y}|{d:02}/{m:02}/{y2}|{d:02}-{m:02}-{y2}|{y}-{m:02}-{d:02}|"
    "{d:02} {mon} {y}|{d:02}-{mon}-{y}|{d:02}.{m:02}.{y}|{m}/{d}/{y}|{d}/{m}/{y}|{d:02}{m:02}{y2}|{y}/{m:02}/{d:02}"
)
_RECEIPT_TIMES = either(
    "{h:02}:{s:02}|{h:02}:{s:02}|{h:02}:{s:02}:{t:02}|{h:02}:{s:02}:{t:02}|{k}:{s:02} PM|{k:02}:{s:02}:{t:02} AM|"
    "{k}:{s:02}PM"
)
_CARDS = either(
    "VISA|MASTERCARD|MASTER|DEBIT CARD|CREDIT CARD|AMEX|CARD|E-WALLET|CREDIT|VISA CARD|DEBIT"
)
_HEADS = either(
    "QTY|ITEM|PRICE|AMOUNT|AMT|DESC|DESCRIPTION|TAX|U/P|DISC|TOTAL|CODE|RATE|NO|UOM|S/PRICE|NET|RM"
)
_COLONS = either(" : | : | : | :|: |: |: |:| | ; ")
_COLONS_AT_END = either(" :| :| :|:|:| : -|.:| ;")

_MONTHS = either(
    "January|February|March|April|May|June|July|August|September|October|November|December"
)
_DAYS = either("Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday")
_ENDS = either("com|com|com|com|org|net|edu|gov|de|fr|co.uk|it|info|io|biz|ca|com.au|ru|eu|tv")
_TITLES = either("Mr.|Mrs.|Ms.|Dr.|Prof.|Sir|St.|Capt.|Rev.|Hon.|Gen.|Lady|Miss|Mr|Mrs|Dr")
_SUFFIXES = either(
    ", Jr.|, Ph.D.|, M.D.| III| II|, Esq.| & Co.| & Sons| Inc.|, Inc.| Ltd.| LLC| Corp.| Bros.| GmbH|, Jr|'s"
)


def number(rng: Random) -> str:
    return _filled(rng, pick(rng, _COUNTS if rng.random() < 0.5 else _NUMBERS))


def figure(rng: Random) -> str:
    """A number as it stands among words: years, references, amounts."""
    return _filled(rng, pick(rng, _FIGURES))


def percent(rng: Random) -> str:
    return _filled(rng, pick(rng, _PERCENTS))


def phone(rng: Random) -> str:
    return _filled(rng, pick(rng, _PHONES))


def code(rng: Random) -> str:
    """Serial numbers, references, article numbers and the like."""
    return _filled(rng, pick(rng, _CODES))


def plate(rng: Random) -> str:
    """Of cars."""
    return _filled(rng, pick(rng, _PLATES))


def price(rng: Random) -> str:
    return pick(rng, _PRICES).format(_filled(rng, pick(rng, _AMOUNTS)))


def date(rng: Random, patterns: tuple[str, ...] = _DATES) -> str:
    """Years, days and months, alone and together."""
    month, year = _upto(rng, 12), 1890 + _upto(rng, 150)
    name, weekday = _MONTHS[month], pick(rng, _DAYS)
    return pick(rng, patterns).format(
        d=_upto(rng, 28) + 1,
        m=month + 1,
        y=year,
        e=year + _upto(rng, 40),
        y2=f"{year % 100:02}",
        month=name,
        mon=name[:3],
        weekday=weekday,
        day=weekday[:3],
        h=_upto(rng, 24),
        s=_upto(rng, 60),
        t=_upto(rng, 60),
    )


def time(rng: Random, patterns: tuple[str, ...] = _TIMES) -> str:
    """Times of the day, opening hours, durations."""
    hour = _upto(rng, 24)
    return pick(rng, patterns).format(
        h=hour, k=hour % 12 + 1, d=_upto(rng, 12) + 1, s=_upto(rng, 60), t=_upto(rng, 60)
    )


def email(rng: Random, word: Word) -> str:
    return f"{_composed(rng, _USERS, word)}@{_host(rng, word)}"


def url(rng: Random, word: Word) -> str:
    """Addresses of the web, handles and tags, paths of files."""
    return _composed(rng, _URLS, word, host=_host(rng, word))


def name(rng: Random, word: Word) -> str:
    """People and firms, with initials and titles."""
    suffix, title = pick(rng, _SUFFIXES), pick(rng, _TITLES)
    return _composed(rng, _NAMES, lambda rng: capital(word(rng)), suffix=suffix, title=title)


def entry(rng: Random, label: Word) -> str:
    """What forms, tables and receipts have on a row: a label with a value, an item of a list."""
    value = pick(rng, _VALUES)(rng)
    return pick(rng, _ENTRIES).format(
        label=label(rng), other=label(rng), value=value, n=1 + _upto(rng, 20)
    )


_VALUES = (price, price, price, number, number, date, time, phone, code, percent)


def receipt(rng: Random, label: Word) -> str:
    """A row of a receipt, or a part of one: items, totals, taxes, codes, addresses; in capitals most often."""
    text = pick(rng, _RECEIPTS).format_map(_Receipt(rng, label))
    case = rng.random()
    if case < 0.65:
        return text.upper()
    return " ".join(map(_capitalised, text.split(" "))) if case < 0.9 else text


def _capitalised(word: str) -> str:
    """`word` with small letters after its first; codes, currencies and names of taxes stay as they are."""
    kept = any(map(str.isdigit, word)) or word.strip("(): @") in (
        *_CURRENCIES,
        *_TAXES,
        *_TAX_KINDS,
    )
    return word if kept else word.capitalize()


class _Receipt(dict[str, str]):
    """The fields of a receipt's row. Nothing is kept: each time that a field is asked for, it is drawn anew."""

    def __init__(self, rng: Random, label: Word) -> None:
        super().__init__()
        self._rng, self._label = rng, label

    def __missing__(self, field: str) -> str:
        rng = self._rng
        if field in _FIELDS:
            return _filled(rng, pick(rng, _FIELDS[field]))
        if field in _WORDINGS:
            return pick(rng, _WORDINGS[field])
        return self._composed(field)

    def _composed(self, field: str) -> str:
        rng = self._rng
        if field == "money":
            return pick(rng, _CURRENCIES) + ("" if rng.random() < 0.5 else " ") + self["amount"]
        if field == "date":
            return date(rng, _RECEIPT_DATES)
        if field == "time":
            return time(rng, _RECEIPT_TIMES)
        if field == "road":
            before, word, after = pick(rng, _ROADS).partition("{w}")
            return (
                before
                + (word and self._label(rng))
                + "".join(_character(rng, c) if c == "0" else c for c in after)
            )
        return self._label(rng)


# What the fields of `_RECEIPTS` are: patterns to be filled, and wordings that stand as they are.
_FIELDS = {
    "amount": _RECEIPT_AMOUNTS,
    "fine": _FINES,
    "size": _SIZES,
    "percent": _RATES,
    "count": either("9|9|9|90|90|900"),
    "weight": either("0.000|9.000|0.00|9.00|9.0"),
    "digits": _DIGITS,
    "barcode": _BARCODES,
    "item": _ITEMS,
    "phone": _RECEIPT_PHONES,
    "last": either("0000"),
    "post": either("00000|00000|00000|000000|0000"),
    "capital": either("A"),
    "registration": _REGISTRATIONS,
}
_WORDINGS = {
    "total": _TOTALS,
    "tax": _TAXES,
    "kind": _TAX_KINDS,
    "rm": _CURRENCIES,
    "unit": _UNITS,
    "doc": _DOCUMENTS,
    "card": _CARDS,
    "head": _HEADS,
    "colon": _COLONS,
    "end": _COLONS_AT_END,
    "day": _DAYS,
}


def capital(text: str) -> str:
    """`text` with its first character as a capital, the rest as it is."""
    return text[:1].upper() + text[1:]


def _host(rng: Random, word: Word) -> str:
    return f"{_composed(rng, _HOSTS, word)}.{pick(rng, _ENDS)}"


def _composed(rng: Random, patterns: tuple[str, ...], word: Word, **others: str) -> str:
    """One of `patterns` with two words w and v, their initials i and j, and a number n."""
    w, v = word(rng), word(rng)
    n = _upto(rng, 10 ** (1 + _upto(rng, 4)))
    return pick(rng, patterns).format(w=w, v=v, i=w[0], j=v[0], n=n, end=pick(rng, _ENDS), **others)


def _filled(rng: Random, pattern: str) -> str:
    return "".join(_character(rng, c) if c in "09A~" else c for c in pattern)


def _character(rng: Random, stand_in: str) -> str:
    if stand_in == "9":
        return "123456789"[_upto(rng, 9)]
    if stand_in == "0":
        return "0123456789"[_upto(rng, 10)]
    return (string.ascii_uppercase if stand_in == "A" else string.ascii_lowercase)[_upto(rng, 26)]


def _upto(rng: Random, end: int) -> int:
    """A whole number from 0 to `end` - 1."""
    return int(rng.random() * end)
