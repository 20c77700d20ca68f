//! Occupations, companies and sentences for the offers.

use super::Labelled;

/// An occupation: a ROME code (version 3), a job of it, what it asks for.
///
/// The ROME codes are France Travail's. The codes of the jobs and of the
/// skills have the right form and aren't checked against its lists.
pub(super) struct Occupation {
    pub(super) rome: Labelled,
    pub(super) job: Labelled,
    pub(super) skills: [Labelled; 2],
    pub(super) caces: bool,
}

macro_rules! occupation {
    ($rome:literal, $label:literal, $code:literal, $job:literal,
     [$c1:literal, $s1:literal], [$c2:literal, $s2:literal], $caces:literal) => {
        Occupation {
            rome: Labelled { code: $rome, label: $label },
            job: Labelled { code: $code, label: $job },
            skills: [Labelled { code: $c1, label: $s1 }, Labelled { code: $c2, label: $s2 }],
            caces: $caces,
        }
    };
}

/// The occupations that people seek and companies offer.
#[rustfmt::skip]
pub(super) const OCCUPATIONS: [Occupation; 33] = [
    occupation!("K2204", "Nettoyage de locaux", "10972", "Agent / Agente d'entretien", ["100181", "Entretenir des locaux"], ["124587", "Respecter des règles d'hygiène"], false),
    occupation!("G1603", "Personnel polyvalent en restauration", "12927", "Employé polyvalent / Employée polyvalente de restauration", ["100288", "Dresser des plats"], ["124587", "Respecter des règles d'hygiène"], false),
    occupation!("M1601", "Accueil et renseignements", "10372", "Agent / Agente d'accueil", ["100097", "Accueillir les personnes"], ["121846", "Tenir un standard"], false),
    occupation!("M1607", "Secrétariat", "19364", "Secrétaire", ["121288", "Saisir des documents"], ["122573", "Classer des dossiers"], false),
    occupation!("M1203", "Comptabilité", "11714", "Comptable", ["119318", "Tenir une comptabilité"], ["122110", "Établir une déclaration"], false),
    occupation!("N4105", "Conduite et livraison par tournées sur courte distance", "12109", "Chauffeur-livreur / Chauffeuse-livreuse", ["118811", "Conduire un véhicule léger"], ["123008", "Vérifier un chargement"], false),
    occupation!("N4101", "Conduite de transport de marchandises sur longue distance", "11939", "Conducteur / Conductrice de poids lourd", ["118812", "Conduire un poids lourd"], ["123008", "Vérifier un chargement"], true),
    occupation!("N1103", "Magasinage et préparation de commandes", "16993", "Magasinier / Magasinière", ["118320", "Préparer une commande"], ["117432", "Tenir un inventaire"], true),
    occupation!("F1703", "Maçonnerie", "16941", "Maçon / Maçonne", ["117610", "Monter un mur"], ["117624", "Couler une dalle"], false),
    occupation!("F1602", "Électricité bâtiment", "13184", "Électricien / Électricienne du bâtiment", ["117801", "Poser un réseau électrique"], ["117815", "Lire un schéma"], false),
    occupation!("F1603", "Installation d'équipements sanitaires et thermiques", "17942", "Plombier / Plombière", ["117902", "Souder un raccord"], ["117815", "Lire un schéma"], false),
    occupation!("F1702", "Construction de routes et voies", "14456", "Ouvrier / Ouvrière de voirie", ["117950", "Poser un revêtement"], ["125002", "Signaler un chantier"], true),
    occupation!("A1203", "Aménagement et entretien des espaces verts", "14907", "Jardinier / Jardinière", ["116011", "Tailler des végétaux"], ["116024", "Entretenir un matériel"], false),
    occupation!("A1414", "Horticulture et maraîchage", "17118", "Maraîcher / Maraîchère", ["116102", "Planter des cultures"], ["116118", "Récolter des produits"], false),
    occupation!("A1407", "Élevage bovin ou équin", "13156", "Éleveur / Éleveuse de bovins", ["116201", "Soigner un troupeau"], ["116215", "Poser une clôture"], false),
    occupation!("D1106", "Vente en alimentation", "20540", "Vendeur / Vendeuse en alimentation", ["118001", "Conseiller un client"], ["118014", "Encaisser une vente"], false),
    occupation!("D1505", "Personnel de caisse", "15516", "Hôte / Hôtesse de caisse", ["118014", "Encaisser une vente"], ["100097", "Accueillir les personnes"], false),
    occupation!("D1507", "Mise en rayon libre-service", "12959", "Employé / Employée de rayon", ["118102", "Disposer des produits"], ["117432", "Tenir un inventaire"], false),
    occupation!("G1602", "Personnel de cuisine", "12018", "Cuisinier / Cuisinière", ["100301", "Cuire des aliments"], ["124587", "Respecter des règles d'hygiène"], false),
    occupation!("G1803", "Service en restauration", "19595", "Serveur / Serveuse de restaurant", ["100288", "Dresser des plats"], ["100097", "Accueillir les personnes"], false),
    occupation!("K1302", "Assistance auprès d'adultes", "11529", "Auxiliaire de vie", ["101015", "Préparer un repas"], ["100402", "Changer le linge"], false),
    occupation!("G1703", "Réception en hôtellerie", "19018", "Réceptionniste en hôtellerie", ["100097", "Accueillir les personnes"], ["100451", "Tenir un planning d'occupation"], false),
    occupation!("I1604", "Mécanique automobile et entretien de véhicules", "17212", "Mécanicien / Mécanicienne automobile", ["119001", "Diagnostiquer une panne"], ["119014", "Remplacer une pièce"], false),
    occupation!("H2913", "Soudage manuel", "19818", "Soudeur / Soudeuse", ["117902", "Souder un raccord"], ["117930", "Découper du métal"], true),
    occupation!("K1304", "Services domestiques", "11458", "Aide-ménager / Aide-ménagère", ["100181", "Entretenir des locaux"], ["100402", "Changer le linge"], false),
    occupation!("K1303", "Assistance auprès d'enfants", "11304", "Assistant maternel / Assistante maternelle", ["101002", "Éveiller un enfant"], ["101015", "Préparer un repas"], false),
    occupation!("J1501", "Soins d'hygiène, de confort du patient", "10791", "Aide-soignant / Aide-soignante", ["102001", "Faire la toilette d'un patient"], ["124587", "Respecter des règles d'hygiène"], false),
    occupation!("J1506", "Soins infirmiers généralistes", "15631", "Infirmier / Infirmière", ["102101", "Réaliser un soin"], ["102115", "Tenir un dossier de soins"], false),
    occupation!("K2503", "Sécurité et surveillance privées", "10966", "Agent / Agente de sécurité", ["103001", "Contrôler un accès"], ["103012", "Effectuer une ronde"], false),
    occupation!("M1805", "Études et développement informatique", "14202", "Développeur / Développeuse informatique", ["119401", "Écrire un programme"], ["119415", "Tester un logiciel"], false),
    occupation!("K2106", "Enseignement des écoles", "18101", "Professeur / Professeure des écoles", ["103101", "Animer une séance"], ["103112", "Évaluer des acquis"], false),
    occupation!("F1402", "Extraction solide", "11963", "Conducteur / Conductrice d'engins de mine", ["118901", "Conduire un engin"], ["125002", "Signaler un chantier"], true),
    occupation!("A1415", "Équipage de la pêche", "17060", "Matelot / Matelote à la pêche", ["116301", "Remonter un filet"], ["116315", "Entretenir un bateau"], false),
];

/// Companies that don't exist: a legal name, and a sign with its apostrophes.
#[rustfmt::skip]
pub(super) const COMPANIES: [(&str, &str); 20] = [
    ("SOCIETE DE NETTOYAGE DES NIAOULIS SARL", "NET'NIAOULI"),
    ("CANTINE DU BANIAN SARL", "La Cantine du Banian"),
    ("TRANSPORTS DU COL BLEU SAS", "Col Bleu Transports"),
    ("BATI CAILLOU IMAGINAIRE SARL", "Bâti’Caillou"),
    ("HOTEL DES TROIS ILOTS SA", "Hôtel des Trois Îlots"),
    ("GARAGE DE LA PLAINE ROUGE EURL", "L'Atelier de la Plaine"),
    ("MAGASIN DU GRAND PALETUVIER SARL", "Le Palétuvier"),
    ("CLINIQUE DE L'ANSE IMAGINAIRE SA", "Clinique de l’Anse"),
    ("MINES DU PIC FICTIF SAS", "Pic Fictif"),
    ("ELEVAGE DE LA BOUCLE SCEA", "Les Bœufs de la Boucle"),
    ("PECHERIES DE LA PASSE NEUVE SARL", "Passe Neuve"),
    ("ECOLE DES OEILLETS ASSOCIATION", "Les Œillets"),
    ("SECURITE DU LAGON FICTIF SARL", "S'Lagon"),
    ("LOGICIELS DU CAGOU SAS", "Cagou & Fils"),
    ("PEPINIERE DES FOUGERES SARL", "L`Arbre et la Fougère"),
    ("ELECTRICITE DE LA CRETE SARL", "É-Crête"),
    ("PLOMBERIE DU RUISSEAU EURL", "L’Eau d'Ici"),
    ("COMMUNE IMAGINAIRE DE TESTVILLE", "Mairie"),
    ("SUPERETTE DU PONT DE BOIS SARL", "Ô Pont d’Bois"),
    ("ATELIER DE COUTURE MOUVEMENT SARL", "L'Aiguille"),
];

/// What a person in the post does, as HTML.
pub(super) const DUTIES: [&str; 8] = [
    "<li>l&#39;accueil du public&nbsp;;</li>",
    "<li>le nettoyage des locaux&nbsp;;</li>",
    "<li>les petites r&eacute;parations&nbsp;;</li>",
    "<li>la tenue d’un registre &amp; son suivi&nbsp;;</li>",
    "<li>la pr&eacute;paration des commandes&nbsp;;</li>",
    "<li>le respect des r&egrave;gles de s&#233;curit&#xE9;&nbsp;;</li>",
    "<LI>l'entretien du mat&eacute;riel&nbsp;;</LI>",
    "<li>toute t&acirc;che utile au bon fonctionnement de l&rsquo;&eacute;quipe.</li>",
];

/// How a description ends.
pub(super) const ENDINGS: [&str; 6] = [
    "<p>Salaire : 190&nbsp;000 XPF<br/>Prise de poste &lt; 1 mois</p>",
    "<p>Horaires : <strong>6&nbsp;h – 14&nbsp;h</strong>, du lundi au vendredi.<br>Débutant accept&eacute;.</p>",
    "<p style=\"margin:0\">Poste bas&eacute; &agrave; proximit&eacute; de l’a&eacute;roport.</p>\n<p>&nbsp;</p>",
    "<div>Candidature &agrave; d&eacute;poser <em>avant</em> la fin du mois.</div>",
    "<p>V&eacute;hicule fourni &amp; repas pris en charge.</p>",
    "<p>Connaissance d&#8217;une langue kanak appr&eacute;ci&eacute;e.</p>",
];

/// Quarters of towns, where one is given.
pub(super) const QUARTERS: [&str; 8] = [
    "Boulari",
    "Vallée-du-Tir",
    "Koutio",
    "Rivière-Salée",
    "Centre",
    "Anse Vata",
    "Robinson",
    "L'Orphelinat",
];
