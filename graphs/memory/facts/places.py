"""Places that exclude each other: nobody lives in two of the cities, or in two of the countries.

A place that is in neither list may lie within another one, as Kreuzberg does in Berlin.
Or it may be another name of it.
"""

import unicodedata


def _listed(places: str) -> frozenset[str]:
    return frozenset(
        place.strip() for line in places.strip().splitlines() for place in line.split("|")
    )


CITIES = _listed(
    """
    aberdeen|abu dhabi|accra|adelaide|addis ababa|algiers|almaty|amman|amsterdam|ankara|antwerp
    athens|atlanta|auckland|austin|baghdad|baku|baltimore|bangalore|bangkok|barcelona|basel|beijing
    beirut|belfast|belgrade|berlin|bern|bilbao|birmingham|bogota|bologna|bordeaux|boston|bratislava
    bremen|brisbane|bristol|brussels|bucharest|budapest|buenos aires|cairo|calgary|cape town|caracas
    casablanca|chennai|chicago|cologne|copenhagen|dakar|dallas|damascus|delhi|denver|detroit|dhaka
    dortmund|dresden|dubai|dublin|dusseldorf|edinburgh|eindhoven|essen|florence|frankfurt|geneva
    genoa|ghent|glasgow|gothenburg|graz|grenoble|guadalajara|guangzhou|hamburg|hanoi|hanover|havana
    helsinki|ho chi minh city|houston|hyderabad|innsbruck|istanbul|jakarta|jerusalem|johannesburg
    kansas city|karachi|kathmandu|kinshasa|kolkata|krakow|kuala lumpur|kyiv|kyoto|lagos|lahore
    las vegas|lausanne|leeds|leipzig|lille|lima|linz|lisbon|liverpool|ljubljana|london|los angeles
    lyon|madrid|malmo|manchester|manila|marseille|medellin|melbourne|miami|milan|minneapolis|minsk
    montevideo|montreal|moscow|mumbai|munich|nairobi|nantes|naples|nashville|new york|nice|nuremberg
    osaka|oslo|ottawa|oxford|palermo|paris|perth|philadelphia|phoenix|pittsburgh|porto|portland
    prague|pune|quito|reykjavik|riga|rio de janeiro|riyadh|rome|rotterdam|salzburg|san diego
    san francisco|san jose|santiago|sao paulo|sarajevo|seattle|seoul|seville|shanghai|shenzhen
    singapore|sofia|stockholm|strasbourg|stuttgart|sydney|taipei|tallinn|tashkent|tbilisi|tehran
    tel aviv|the hague|tirana|tokyo|toronto|toulouse|tunis|turin|utrecht|valencia|vancouver|venice
    vienna|vilnius|warsaw|wellington|wroclaw|zagreb|zaragoza|zurich
    """
)

COUNTRIES = _listed(
    """
    afghanistan|albania|algeria|andorra|angola|argentina|armenia|australia|austria|azerbaijan
    bahrain|bangladesh|belarus|belgium|belize|benin|bhutan|bolivia|bosnia|botswana|brazil|brunei
    bulgaria|burkina faso|burundi|cambodia|cameroon|canada|chad|chile|china|colombia|costa rica
    croatia|cuba|cyprus|czechia|denmark|dominican republic|ecuador|egypt|el salvador|england|estonia
    ethiopia|fiji|finland|france|gabon|gambia|germany|ghana|greece|guatemala|guinea|guyana|haiti
    honduras|hungary|iceland|india|indonesia|iran|iraq|ireland|israel|italy|jamaica|japan|jordan
    kazakhstan|kenya|kosovo|kuwait|kyrgyzstan|laos|latvia|lebanon|liberia|libya|liechtenstein
    lithuania|luxembourg|madagascar|malawi|malaysia|mali|malta|mauritius|mexico|moldova|monaco
    mongolia|montenegro|morocco|mozambique|myanmar|namibia|nepal|netherlands|new zealand|nicaragua
    niger|nigeria|north macedonia|norway|oman|pakistan|panama|paraguay|peru|philippines|poland
    portugal|qatar|romania|russia|rwanda|saudi arabia|scotland|senegal|serbia|slovakia|slovenia
    somalia|south africa|south korea|spain|sri lanka|sudan|sweden|switzerland|syria|taiwan
    tajikistan|tanzania|thailand|togo|tunisia|turkey|turkmenistan|uganda|ukraine
    united arab emirates|united states|uruguay|uzbekistan|venezuela|vietnam|wales|yemen|zambia
    zimbabwe
    """
)


def exclude_one_another(place: str, other: str) -> bool:
    """Return whether a person who lives in one place cannot live in the other. Both in lower case.

    A country after a comma is ignored: of `berlin, germany` only the city counts.
    """
    place, other = _plain(place), _plain(other)
    return place != other and any(
        place in places and other in places for places in (CITIES, COUNTRIES)
    )


def is_listed(place: str) -> bool:
    """Return whether a place, in lower case, is one of the cities or countries."""
    return _plain(place) in CITIES | COUNTRIES


def same_place(place: str, other: str) -> bool:
    """Return whether two places are the same, with or without their country."""
    return _plain(place) == _plain(other)


def _plain(place: str) -> str:
    """Return a place without accents, and a city without its country."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", place) if not unicodedata.combining(c))
    city, comma, country = plain.rpartition(", ")
    return city if comma and country in COUNTRIES else plain
